"""Who holds this token: ours beside DRF's `TokenAuthentication`, on the same database and connection.

DRF reads one row and asks whether the user is active. Ours also asks for feature flags, memberships,
expiry, revocation and networks, and with the limiter counts the request. `ours` is an agent's token on
SQLite; with PostgreSQL and Redis installed the same is shown there.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from contextlib import ExitStack

from benchmarks.installation import Ready, founded
from benchmarks.measuring import Subject, medians, report, show
from tests.support_servers import find_postgres, postgres_cluster, redis_process

TARGET, TARGET_WITH_LIMITER = 1.5, 2.5
REFERENCE = "DRF TokenAuthentication"
OURS, LIMITED = "agent's token", "agent's token with limiter"


def main() -> None:
    if len(sys.argv) > 1:
        print(json.dumps(_measure(database_url=sys.argv[1], redis_url=sys.argv[2])))
        return
    found = _measure()
    show("one credential, SQLite", found, REFERENCE)
    with ExitStack() as stack:
        for title, arguments in _other_servers(stack):
            show(f"one credential, {title}", _elsewhere(arguments), REFERENCE)
    limited = found[LIMITED] / found[REFERENCE]
    print(f"with limiter {limited:.2f} x, target {TARGET_WITH_LIMITER}")
    also = limited <= TARGET_WITH_LIMITER
    report("token_authentication", ours=found[OURS], reference=found[REFERENCE], target=TARGET, also=also)


def _other_servers(stack: ExitStack) -> list[tuple[str, list[str]]]:
    if find_postgres() is None or shutil.which("redis-server") is None:
        return []
    database_url = stack.enter_context(postgres_cluster())
    redis_url = stack.enter_context(redis_process()) + "/0"
    return [("PostgreSQL and Redis", [database_url, redis_url])]


def _elsewhere(arguments: list[str]) -> dict[str, float]:
    """Measure in a process of its own, since Django is set up once."""
    command = [sys.executable, "-m", "benchmarks.token_authentication", *arguments]
    done = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True, env=dict(os.environ))
    found: dict[str, float] = json.loads(done.stdout.splitlines()[-1])
    return found


def _measure(*, database_url: str = "", redis_url: str = "") -> dict[str, float]:
    apps = ("rest_framework.authtoken",)
    with founded(database_url=database_url, redis_url=redis_url, apps=apps) as ready:
        return medians(_subjects(ready), rounds=500)


def _subjects(ready: Ready) -> dict[str, Subject]:
    from rest_framework.authentication import TokenAuthentication  # noqa: PLC0415  # needs the setup
    from rest_framework.authtoken.models import Token  # noqa: PLC0415  # as above

    from identity import rate_limit  # noqa: PLC0415  # as above
    from identity.authentication import Authenticated, authenticate  # noqa: PLC0415  # as above
    from identity.models import User  # noqa: PLC0415  # as above
    from kernel.clock import utc_now  # noqa: PLC0415  # as above

    key = Token.objects.create(user=User.objects.get(username="owner")).key
    reference = TokenAuthentication()

    def ours(token: str) -> Authenticated:
        header = (f"Bearer {token}",)
        return authenticate(authorization=header, client_ip="127.0.0.1", request_id="r", now=utc_now())

    def limited() -> None:
        found = ours(ready.agent_token)
        rate_limit.admit(key=f"token:{found.family}", limit=10_000_000, now=utc_now())

    return {
        REFERENCE: lambda: reference.authenticate_credentials(key),
        OURS: lambda: ours(ready.agent_token),
        "person's token": lambda: ours(ready.owner_token),
        LIMITED: limited,
    }


if __name__ == "__main__":
    main()
