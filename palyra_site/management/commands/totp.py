"""The present one-time code of the bootstrapped owner, for a first look without an authenticator."""

from __future__ import annotations

import base64
import json
from typing import Any
from urllib.parse import parse_qs, urlsplit

from django.core.management.base import BaseCommand, CommandError
from django_otp.oath import TOTP

from governance import bootstrapped


class Command(BaseCommand):
    """Read the seed from bootstrap.json and print the code that is valid now, while the seed is in force."""

    help = "Print the owner's present one-time code while the bootstrap credentials exist."
    requires_system_checks = ()  # `check` reads the whole web side, which this command never needs

    def handle(self, *args: Any, **options: Any) -> None:
        path = bootstrapped.credentials_file()
        try:
            uri = json.loads(path.read_text(encoding="utf-8"))["totp_uri"]
        except OSError as error:
            raise CommandError(f"{path} is not there; use your authenticator") from error
        if not bootstrapped.seed_in_force():
            raise CommandError("the owner signs in with another authenticator by now; use that one")
        secret = parse_qs(urlsplit(uri).query)["secret"][0]
        seed = base64.b32decode(secret + "=" * (-len(secret) % 8))
        self.stdout.write(f"{TOTP(seed).token():06d}")
