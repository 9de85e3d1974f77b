"""One question *may they?*: `authorize` beside `user.has_perm` with Django's own ModelBackend, cache warm.

Both are asked for a permission that is held and for one that is not. Django answers from a set it has
read before; ours decides the whole matrix with flags, scopes and strength.
"""

from __future__ import annotations

from benchmarks.installation import founded
from benchmarks.measuring import Subject, medians, report, show

TARGET, MOST_MICROSECONDS = 0.5, 20.0
HELD, LACKED = "runs.create", "users.manage"


def main() -> None:
    with founded() as ready:
        found = medians(_subjects(ready.agent_token), rounds=400, repeats=50)
    show("one question", found, "user.has_perm, held")
    ours, reference = found["authorize, held"], found["user.has_perm, held"]
    fast = max(found["authorize, held"], found["authorize, lacked"]) < MOST_MICROSECONDS
    report("authorize", ours=ours, reference=reference, target=TARGET, also=fast)


def _subjects(token: str) -> dict[str, Subject]:
    from django.conf import settings  # noqa: PLC0415  # needs the setup

    from identity.authentication import principal_of  # noqa: PLC0415  # as above
    from identity.authorization import authorize  # noqa: PLC0415  # as above
    from identity.models import User  # noqa: PLC0415  # as above
    from kernel.clock import utc_now  # noqa: PLC0415  # as above

    now = utc_now()
    header = (f"Bearer {token}",)
    principal = principal_of(authorization=header, client_ip="127.0.0.1", request_id="r", now=now)
    settings.AUTHENTICATION_BACKENDS = ["django.contrib.auth.backends.ModelBackend"]
    user = User.objects.get(username="owner")
    permissions = {f"identity.permission_{number}" for number in range(60)} | {"identity.held"}
    user._perm_cache = permissions  # type: ignore[attr-defined]  # what a first has_perm would have read

    place, flags = principal.workspace_id, principal.flags

    def ask(permission: str) -> Subject:
        return lambda: authorize(principal, permission, workspace_id=place, flags=flags, now=now)

    if not authorize(
        principal, HELD, workspace_id=principal.workspace_id, flags=principal.flags, now=now
    ).allowed:
        raise SystemExit("the agent does not hold what the benchmark asks for")
    return {
        "authorize, held": ask(HELD),
        "authorize, lacked": ask(LACKED),
        "user.has_perm, held": lambda: user.has_perm("identity.held"),
        "user.has_perm, lacked": lambda: user.has_perm("identity.lacked"),
    }


if __name__ == "__main__":
    main()
