"""How long each kind of failed login takes, so that time does not tell whether a name exists.

The whole verb runs: counting, hash, second factor, count of refusals. `reference` is the median for a
name that nobody has, `ours` that of the kind furthest from it, and the ratio says how far: 1.1 is ten
percent more or less. Networks and the clock move on, so that nobody has to wait.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable
from datetime import timedelta

from benchmarks.installation import founded
from benchmarks.measuring import Subject, medians, report, show

TARGET = 1.1
ROUNDS = 60
NAMELESS = "unknown name"
PASSWORD = "correct horse battery staple"


def main() -> None:
    with founded():
        found = medians(_subjects(), rounds=ROUNDS)
    show("one failed login", found, NAMELESS)
    unknown = found[NAMELESS]
    furthest = max(found.values(), key=lambda median: max(median / unknown, unknown / median))
    report("login_timing", ours=max(furthest, unknown), reference=min(furthest, unknown), target=TARGET)


def _subjects() -> dict[str, Subject]:
    from governance.operations import signing_in  # noqa: PLC0415  # needs the setup
    from identity.models import User  # noqa: PLC0415  # as above
    from identity.sessions import Browser  # noqa: PLC0415  # as above
    from kernel.clock import utc_now  # noqa: PLC0415  # as above
    from kernel.errors import AuthenticationError  # noqa: PLC0415  # as above

    owner = User.objects.get(username="owner")
    owner.set_password(PASSWORD)
    owner.save(update_fields=["password"])
    numbers, start = itertools.count(), utc_now()

    def failing(username: str, password: str) -> Callable[[], None]:
        def subject() -> None:
            number = next(numbers)
            browser = Browser(f"10.{number // 250}.{number % 250}.1")
            claim = signing_in.Claim(username, password, "000000")
            try:
                signing_in.log_in(claim=claim, browser=browser, now=start + timedelta(minutes=number))
            except AuthenticationError:
                return
            raise SystemExit("a wrong login succeeded")

        return subject

    return {
        NAMELESS: failing("nobody", PASSWORD),
        "wrong password": failing("owner", "another phrase"),
        "right password, wrong code": failing("owner", PASSWORD),
        "name that never logs in": failing("demo-owner", PASSWORD),
        "no name at all": failing("", PASSWORD),
    }


if __name__ == "__main__":
    main()
