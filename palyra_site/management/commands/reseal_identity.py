"""Bring what identity keeps sealed under the present key file, so that an older one can be put away."""

from __future__ import annotations

import sys
from typing import Any

from django.core.management.base import BaseCommand

from governance.operations import upkeep
from kernel.clock import utc_now


class Command(BaseCommand):
    """Exit 1 when a value opens under no listed key file; it is left as it is."""

    help = "Rewrite sealed values under PALYRA_SECRET_KEY_FILE; PALYRA_SECRET_KEY_FILES_OLD are read."

    def add_arguments(self, parser: Any) -> None:
        parser.add_argument("--dry-run", action="store_true", help="count and write nothing")

    def handle(self, *args: Any, **options: Any) -> None:
        done = upkeep.reseal_identity(dry_run=bool(options["dry_run"]), now=utc_now())
        verb = "to rewrite" if options["dry_run"] else "rewritten"
        self.stdout.write(f"{done.present} under the present key, {done.rewritten} {verb}")
        for one in done.lost:
            self.stderr.write(f"{one} opens under no listed key file")
        if done.lost:
            sys.exit(1)
