"""One of several processes that ask the limiter itself: `python -m tests.e2e.counting KEY LIMIT COUNT`.

Runs in the environment of an installation and writes how often it was admitted.
"""

from __future__ import annotations

import os
import sys

import django

from kernel.clock import utc_now


def main(key: str, limit: int, count: int) -> None:
    os.environ["DJANGO_SETTINGS_MODULE"] = "palyra_site.settings"
    django.setup()
    from identity import rate_limit  # noqa: PLC0415  # needs the settings

    admitted = [rate_limit.admit(key=key, limit=limit, now=utc_now()).admitted for _ in range(count)]
    sys.stdout.write(str(sum(admitted)))


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]), int(sys.argv[3]))
