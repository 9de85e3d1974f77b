"""The first start, and the signs of life of worker hosts."""

from __future__ import annotations

from datetime import datetime

from django.db import IntegrityError, transaction

from governance import founding
from governance.authority import needs
from identity.models import User
from sandbox import services as sandbox
from sandbox.selection import Probe
from vault import services as vault


@needs(None)
def bootstrap(*, now: datetime) -> founding.Founded | None:
    """Found the installation once: keys first, then everything else in one transaction.

    Returns None when somebody exists already. Two starts at once end with one installation.
    """
    vault.ensure_ready(now=now)
    if User.objects.exists():
        return None
    try:
        with transaction.atomic(durable=True):
            return founding.found(now)
    except IntegrityError:
        return None


@needs(None)
def announce_worker(*, host: str, boot: str, probe: Probe, now: datetime) -> None:
    """Write a worker host's sign of life and what its probe found."""
    with transaction.atomic(durable=True):
        sandbox.store_probe(host=host, boot_id=boot, probe=probe, now=now)
