"""Say which account at the sign-in provider is whose. For who has a shell on the server."""

from __future__ import annotations

from typing import Any

from django.conf import settings
from django.core.management.base import BaseCommand, CommandError

from governance.operations import oidc
from kernel.clock import utc_now
from kernel.errors import PalyraError


class Command(BaseCommand):
    """Link or unlink one person."""

    help = "Let an account of the provider in PALYRA_OIDC_ISSUER sign a person in, or take it away."

    def add_arguments(self, parser: Any) -> None:
        parser.add_argument("--user", required=True, help="the person's user name")
        which = parser.add_mutually_exclusive_group(required=True)
        which.add_argument("--subject", help="the account's `sub`, as the refusal at the sign-in shows it")
        which.add_argument("--remove", action="store_true", help="no account signs this person in any more")

    def handle(self, *args: Any, **options: Any) -> None:
        if not settings.PALYRA_OIDC_ISSUER:
            raise CommandError("PALYRA_OIDC_ISSUER is not set")
        try:
            oidc.link(username=options["user"], subject=options["subject"], now=utc_now())
        except PalyraError as refusal:
            raise CommandError(refusal.detail) from refusal
        self.stdout.write(f"{options['user']}: {'unlinked' if options['remove'] else 'linked'}")
