"""The process that judges conformance cases: run as `python -I conformance_child.py SOCKET_FD`.

Cedar has no limits of its own: a short schema can take hours, and deep text overflows the native stack.
This process may be killed for that; it dies by itself when nobody waits any more.
"""

from __future__ import annotations

import json
import os
import resource
import signal
import socket
import struct
import sys
from typing import Any

if __name__ == "__main__":
    # -I keeps foreign directories out of the path; our own is put back by name.
    sys.path.append(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))

from policy.conformance import Case, CaseError, run_case

MEMORY_BYTES = 1024 * 1024 * 1024
SECONDS = 10.0
READY = b"."
_LENGTH = struct.Struct("!I")


def answer(question: bytes) -> bytes:
    """Return `{"answer": …}`, or `{"part": …, "message": …}` for a case that cannot be judged."""
    try:
        judged: dict[str, Any] = {"answer": run_case(Case(**json.loads(question)))}
    except CaseError as error:
        judged = {"part": error.part, "message": error.message}
    return json.dumps(judged).encode()


def _serve(connection: socket.socket) -> None:
    while header := _read(connection, _LENGTH.size):
        question = _read(connection, _LENGTH.unpack(header)[0])
        # The default action of SIGALRM ends the process even inside native code.
        signal.setitimer(signal.ITIMER_REAL, SECONDS)
        found = answer(question)
        signal.setitimer(signal.ITIMER_REAL, 0)
        connection.sendall(_LENGTH.pack(len(found)) + found)


def _read(connection: socket.socket, size: int) -> bytes:
    """Return exactly this many bytes, or none when the other side is gone."""
    received = bytearray()
    while len(received) < size:
        part = connection.recv(min(size - len(received), 65_536))
        if not part:
            return b""
        received += part
    return bytes(received)


def main() -> None:
    resource.setrlimit(resource.RLIMIT_AS, (MEMORY_BYTES, MEMORY_BYTES))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    with socket.socket(fileno=int(sys.argv[1])) as connection:
        connection.sendall(READY)
        _serve(connection)


if __name__ == "__main__":
    main()
