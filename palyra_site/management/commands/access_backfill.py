"""Put feature flags and limits right after an upgrade, and report rows that mean nothing any more."""

from __future__ import annotations

import sys
from typing import Any

from django.core.management.base import BaseCommand

from governance.operations import upkeep
from kernel.clock import utc_now


class Command(BaseCommand):
    """Exit 1 while something is left to do or to look at."""

    help = "Add missing feature flags, bring limits back into range, report orphaned rows."

    def add_arguments(self, parser: Any) -> None:
        parser.add_argument("--dry-run", action="store_true", help="say what would be done and do nothing")

    def handle(self, *args: Any, **options: Any) -> None:
        dry_run = bool(options["dry_run"])
        found = upkeep.backfill_access(dry_run=dry_run, now=utc_now())
        done = "would be" if dry_run else "was"
        for key in found.missing_flags:
            self.stdout.write(f"flag {key} {done} written down at its default")
        for key in found.clamped_flags:
            self.stdout.write(f"flag {key}: its percentage {done} brought back to 0 to 100")
        for token_id in found.clamped_tokens:
            self.stdout.write(f"token {token_id}: its rate {done} brought back into its range")
        for orphan in found.orphans:
            self.stdout.write(f"{orphan.kind} {orphan.id}: {orphan.why}")
        if not found.has_work and not found.orphans:
            self.stdout.write("nothing to do")
        if found.orphans or (dry_run and found.has_work):
            sys.exit(1)
