"""A thousand claims of calls that one grant of one use covers, by eight processes at once: one call runs.

`ours` is how many calls ran, `reference` the one that may; every claim is the whole claim with its checks.
It is no figure of speed and needs no quiet machine.
"""

from __future__ import annotations

import multiprocessing
from collections import Counter
from contextlib import suppress

from benchmarks.installation import founded
from benchmarks.measuring import report

CLAIMS, CALLS, PROCESSES, EACH_RUN = 1_000, 50, 8, 10


def main() -> None:
    with founded(in_memory=True) as ready:
        from django.db import connection  # noqa: PLC0415  # needs the setup

        from approvals.models import Grant, GrantUse  # noqa: PLC0415  # as above
        from benchmarks.approving import scene  # noqa: PLC0415  # as above
        from sandbox.models import Execution  # noqa: PLC0415  # as above

        people = scene(ready)
        _, grant = people.granted()
        runs = [people.open_run() for _ in range(CALLS // EACH_RUN)]
        views = [people.propose(run=run) for run in runs for _ in range(EACH_RUN)]
        if any(view.call.grant_id != grant.pk for view in views):
            raise SystemExit("a call is not covered by the grant")
        Grant.objects.filter(pk=grant.pk).update(uses_allowed=1)
        executions = [view.call.execution_id or "" for view in views]
        connection.close()
        tried = _claim_all(executions)
        states = Counter(Execution.objects.filter(id__in=executions).values_list("state", flat=True))
        grant.refresh_from_db()
        used = GrantUse.objects.filter(grant=grant).count()
    ran = states["running"]
    print(f"{tried} claims of {CALLS} calls by {PROCESSES} processes: {dict(states)}")
    print(f"  the grant is {grant.status} after {grant.uses} use, with {used} row of it")
    once = (grant.status, grant.uses, used, states["refused"]) == ("consumed", 1, 1, CALLS - 1)
    report("claim_grant", ours=ran, reference=1, target=1.0, also=ran == 1 and once and tried == CLAIMS)


def _claim_all(executions: list[str]) -> int:
    """Let every process claim in an order of its own; return how many claims were made."""
    context = multiprocessing.get_context("fork")
    told: multiprocessing.SimpleQueue[int] = context.SimpleQueue()
    share = CLAIMS // PROCESSES
    processes = [
        context.Process(target=_claim, args=(executions, number, share, told)) for number in range(PROCESSES)
    ]
    for process in processes:
        process.start()
    for process in processes:
        process.join()
    if any(process.exitcode for process in processes):
        raise SystemExit("a process failed")
    return sum(told.get() for _ in processes)


def _claim(executions: list[str], number: int, share: int, told: multiprocessing.SimpleQueue[int]) -> None:
    from django.db import transaction  # noqa: PLC0415  # needs the setup

    from governance import recheck  # noqa: PLC0415  # as above
    from governance.runner import Worker, boot_id  # noqa: PLC0415  # as above
    from kernel.clock import utc_now  # noqa: PLC0415  # as above
    from kernel.errors import ConflictError  # noqa: PLC0415  # as above
    from sandbox.runners.worker import RunnerPool  # noqa: PLC0415  # as above
    from sandbox.selection import Probe  # noqa: PLC0415  # as above
    from sandbox.types import Executor  # noqa: PLC0415  # as above

    class EveryExecutor(RunnerPool):
        """A host that could run anything; here nothing is run."""

        def probe(self) -> Probe:
            return Probe(executors=frozenset(Executor))

    worker, done = Worker(f"benchmark:{number}", boot_id(), EveryExecutor()), 0
    for turn in range(share):
        execution_id = executions[(turn + number * len(executions) // PROCESSES) % len(executions)]
        with suppress(ConflictError), transaction.atomic(durable=True):
            recheck.claim(execution_id, worker, utc_now())
        done += 1
    told.put(done)


if __name__ == "__main__":
    main()
