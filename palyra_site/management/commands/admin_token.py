"""Mint a token of kind `adm` on the machine itself: the only way to one."""

from __future__ import annotations

from typing import Any

from django.core.management.base import BaseCommand, CommandError, CommandParser

from governance.operations import tokens
from identity.token_rules import DEFAULT_DAYS, LONGEST_DAYS, LOOPBACK
from identity.tokens import TokenKind
from kernel.clock import utc_now
from kernel.errors import PalyraError


class Command(BaseCommand):
    """Print the text of the new token on standard output, and nothing else there."""

    help = "Mint a token for automation of administration. It works while the feature api_tokens is off."
    requires_system_checks = ()  # `check` reads the whole web side, which this command never needs

    def add_arguments(self, parser: CommandParser) -> None:
        longest = LONGEST_DAYS[TokenKind.ADMIN]
        default = DEFAULT_DAYS[TokenKind.ADMIN]
        parser.add_argument("--user", required=True, help="whose token it becomes")
        parser.add_argument(
            "--scope", action="append", required=True, help="a permission or a group; may repeat"
        )
        parser.add_argument("--days", type=int, help=f"life in days, 1 to {longest} (default {default})")
        parser.add_argument(
            "--network", action="append", help="a network it is used from; may repeat (default: the loopback)"
        )

    def handle(self, *args: Any, **options: Any) -> None:
        try:
            minted = tokens.mint_admin(
                username=options["user"],
                scopes=options["scope"],
                days=options["days"],
                allowed_networks=options["network"] or LOOPBACK,
                now=utc_now(),
            )
        except PalyraError as error:
            named = ", ".join(item.detail for item in error.errors)
            raise CommandError(f"{error.detail or error.code} {named}".strip()) from error
        self.stderr.write(f"{minted.token.pk} works until {minted.token.expires_at:%Y-%m-%d %H:%M} UTC.")
        self.stdout.write(minted.text)
