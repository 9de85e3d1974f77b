"""Acts that begin in the same moment, each in a thread with a connection of its own."""

from __future__ import annotations

import threading
from collections.abc import Callable

from django.db import connection

from kernel.errors import PalyraError


def at_once(*acts: Callable[[], object]) -> list[str]:
    """Run all acts at the same moment; return each one's problem code, or an empty text."""
    gate, codes = threading.Barrier(len(acts)), [""] * len(acts)

    def run(index: int, act: Callable[[], object]) -> None:
        try:
            gate.wait()
            act()
        except PalyraError as refusal:
            codes[index] = refusal.code
        except BaseException as error:
            codes[index] = repr(error)
        finally:
            connection.close()

    threads = [threading.Thread(target=run, args=item) for item in enumerate(acts)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return codes
