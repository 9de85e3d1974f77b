"""The present one-time code of the bootstrapped owner, for a first look without an authenticator."""

from __future__ import annotations

import base64
import json
from typing import Any
from urllib.parse import parse_qs, urlsplit

from django.conf import settings
from django.core.management.base import BaseCommand, CommandError
from django_otp.oath import TOTP


class Command(BaseCommand):
    """Read the seed from bootstrap.json and print the code that is valid now."""

    help = "Print the owner's present one-time code while the bootstrap credentials exist."
    requires_system_checks = ()  # `check` reads the whole web side, which this command never needs

    def handle(self, *args: Any, **options: Any) -> None:
        path = settings.PALYRA_HOME / "bootstrap.json"
        try:
            uri = json.loads(path.read_text(encoding="utf-8"))["totp_uri"]
        except OSError as error:
            raise CommandError(f"{path} is not there; use your authenticator") from error
        secret = parse_qs(urlsplit(uri).query)["secret"][0]
        seed = base64.b32decode(secret + "=" * (-len(secret) % 8))
        self.stdout.write(f"{TOTP(seed).token():06d}")
