"""Help somebody who lost the authenticator, from the machine itself: the last owner has no other way."""

from __future__ import annotations

from typing import Any

from django.conf import settings
from django.core.management.base import BaseCommand, CommandError, CommandParser

from governance.operations import people
from kernel.clock import utc_now
from kernel.errors import PalyraError


class Command(BaseCommand):
    """Print the setup link on standard output, and nothing else there."""

    help = "Take away a person's authenticator, password, sessions and personal tokens; print a setup link."
    requires_system_checks = ()  # `check` reads the whole web side, which this command never needs

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("username", help="whose authenticator is lost")
        parser.add_argument("--reason", required=True, help="why; it stands in the journal")

    def handle(self, *args: Any, **options: Any) -> None:
        try:
            made = people.reset_factor_on_the_machine(
                username=options["username"], reason=options["reason"], now=utc_now()
            )
        except PalyraError as error:
            named = ", ".join(item.detail for item in error.errors)
            raise CommandError(f"{error.detail or error.code} {named}".strip()) from error
        self.stderr.write(f"{made.user.username} sets a password and an authenticator with this link, once.")
        self.stdout.write(made.address(settings.PALYRA_PUBLIC_URL))
