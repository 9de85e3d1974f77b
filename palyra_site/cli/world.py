"""Everything a command touches outside itself, as one value, so that tests hand in another."""

from __future__ import annotations

import getpass
import os
import sys
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, TextIO

from palyra_site.cli.credentials import Keyring, system_keyring

if TYPE_CHECKING:
    import httpx

CHECKOUT = Path(__file__).resolve().parents[2]


@dataclass(frozen=True, slots=True)
class World:
    """`server_home` is where the server of this checkout keeps its files when nothing else is said."""

    environ: Mapping[str, str]
    stdin: TextIO
    stdout: TextIO
    stderr: TextIO
    user_home: Path
    server_home: Path
    transport: httpx.BaseTransport | None
    sleep: Callable[[float], None]
    monotonic: Callable[[], float]
    clock: Callable[[], float]
    ask_secret: Callable[[str], str]
    keyring: Callable[[], Keyring | None]


def real_world() -> World:
    """Return the process's own surroundings."""
    return World(
        environ=os.environ,
        stdin=sys.stdin,
        stdout=sys.stdout,
        stderr=sys.stderr,
        user_home=Path.home(),
        server_home=CHECKOUT / ".palyra",
        transport=None,
        sleep=time.sleep,
        monotonic=time.monotonic,
        clock=time.time,
        ask_secret=lambda prompt: getpass.getpass(prompt, stream=sys.stderr),
        keyring=system_keyring,
    )
