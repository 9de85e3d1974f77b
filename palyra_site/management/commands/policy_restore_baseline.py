"""Put the shipped rules back in force, from the machine itself: the way out when rules lock everybody out."""

from __future__ import annotations

from typing import Any

from django.core.management.base import BaseCommand, CommandError, CommandParser

from governance.operations import policy_activation
from kernel.clock import utc_now
from kernel.errors import PalyraError


class Command(BaseCommand):
    """Print the id of the set that is in force now."""

    help = "Put the shipped rules in force as a new policy set, whatever is in force; it is journalled."
    requires_system_checks = ()  # `check` reads the whole web side, which this command never needs

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument(
            "--reason", required=True, help="why, 10 to 500 characters; it stands in the journal"
        )

    def handle(self, *args: Any, **options: Any) -> None:
        try:
            restored = policy_activation.restore_baseline(reason=options["reason"], now=utc_now())
        except PalyraError as error:
            raise CommandError(error.detail or error.code) from error
        self.stderr.write(f"The shipped rules are in force as version {restored.version}.")
        self.stdout.write(restored.pk)
