"""First start: keys, the owner, the baseline policy and a demonstration to look at."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

from django.conf import settings
from django.core.management.base import BaseCommand

from governance.operations import installation
from kernel.clock import utc_now


class Command(BaseCommand):
    """Make a fresh installation usable; on a used one do nothing."""

    help = "Create the keys, the owner, the baseline policy and the demo, once."

    def handle(self, *args: Any, **options: Any) -> None:
        made = installation.bootstrap(now=utc_now())
        if made is None:
            self.stdout.write("already bootstrapped")
            return
        path = write_credentials(
            {
                "console_url": f"{settings.PALYRA_PUBLIC_URL}/admin/",
                "username": made.username,
                "password": made.password,
                "totp_uri": made.totp_uri,
                "owner_token": made.owner_token,
                "agent_token": made.agent_token,
                "api_url": f"{settings.PALYRA_PUBLIC_URL}/api/v1",
            }
        )
        self.stdout.write(f"credentials written to {path}")


def write_credentials(values: dict[str, str]) -> Path:
    """Write bootstrap.json, readable by the server's user alone, complete or not at all."""
    path = Path(settings.PALYRA_HOME) / "bootstrap.json"
    part = path.with_suffix(".part")
    descriptor = os.open(part, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_NOFOLLOW, 0o600)
    with os.fdopen(descriptor, "w", encoding="utf-8") as file:
        json.dump(values, file, indent=2)
        file.write("\n")
        file.flush()
        os.fsync(file.fileno())
    part.replace(path)
    return path
