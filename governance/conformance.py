"""Conformance cases of a caller, judged in a process of their own that has five seconds.

Cedar's time is not bounded by the size of what it reads, and its faults end the process they happen in,
so no web worker judges text that a caller brings along.
"""

from __future__ import annotations

import atexit
import json
from pathlib import Path
from typing import Any

import policy
from kernel.errors import Detail, InvalidError, UnavailableError
from sandbox.runners.bounded import Bench, BoundedError, NotStartedError, NoTurnError

SECONDS = 5.0
CHILDREN = 2
"""Of each web process. Others wait for their turn within their own five seconds."""

_BENCH = Bench(Path(policy.__path__[0]) / "conformance_child.py", CHILDREN)
atexit.register(_BENCH.close)


def judge_case(case: dict[str, Any], *, seconds: float = SECONDS) -> dict[str, Any]:
    """Return `{validation, results}` of a case with the members of `policy.conformance.Case`.

    Raises InvalidError `policy_invalid` for a case that cannot be judged, InvalidError `policy_too_costly`
    for one that takes too long or too much, UnavailableError while no process is free for it.
    """
    try:
        judged: dict[str, Any] = json.loads(_BENCH.ask(json.dumps(case).encode(), seconds=seconds))
    except NoTurnError as error:
        raise UnavailableError("not_ready", "Other cases are being judged.", retry_after=1) from error
    except NotStartedError as error:
        raise UnavailableError("not_ready", "Cases cannot be judged on this host.") from error
    except BoundedError as error:
        raise InvalidError(
            "policy_too_costly", "The case took too much time or memory, or ended the process that judged it."
        ) from error
    if "answer" not in judged:
        detail = Detail(f"/{judged['part']}", "invalid", judged["message"])
        raise InvalidError("policy_invalid", "The case cannot be judged.", errors=(detail,))
    answer: dict[str, Any] = judged["answer"]
    return answer
