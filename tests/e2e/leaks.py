"""Where a secret must not be found once its owner has it."""

from __future__ import annotations

import re
from pathlib import Path
from urllib.parse import parse_qs, urlsplit

from tests.e2e.installation import Installation

JOURNAL = """
from governance.journal.models import JournalEvent
from governance.journal.reading import open_data
for event in JournalEvent.objects.all():
    print(event.type, bytes(event.envelope), open_data(event))
"""


def the_first_start_s_secrets(product: Installation) -> tuple[str, ...]:
    known = product.credentials
    seed = parse_qs(urlsplit(known["totp_uri"]).query)["secret"][0]
    return known["password"], seed, known["owner_token"], known["agent_token"]


def no_secret_is_left(product: Installation, told: tuple[str, ...]) -> None:
    """Search the database, the journal in clear, logs, queue and process list; not bootstrap.json."""
    kept = [path for path in product.base.rglob("*") if path.is_file() and path.name != "bootstrap.json"]
    places = {path.name: path.read_bytes() for path in kept}
    assert {"palyra.sqlite3", "web.log"} <= set(places)
    places["journal"] = product.manage("shell", "--verbosity", "0", "-c", JOURNAL).encode()
    assert b"token.minted" in places["journal"]
    lines = (path for path in Path("/proc").glob("[0-9]*/cmdline") if path.exists())
    places["processes"] = b"".join(_bytes_of(path) for path in lines)
    found = {(name, text[:6]) for name, data in places.items() for text in told if _holds(data, text)}
    assert found == set()


def _holds(data: bytes, secret: str) -> bool:
    """A code of six digits stands in any number by chance; it counts where nothing else is around it."""
    if len(secret) > 6:
        return secret.encode() in data
    return re.search(rb"(?<![0-9A-Za-z_.-])" + secret.encode() + rb"(?![0-9A-Za-z_.-])", data) is not None


def _bytes_of(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError:
        return b""
