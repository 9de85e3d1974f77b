"""A worker host's sign of life: what its probe found, repeated while it lives."""

from __future__ import annotations

import logging
import threading
from datetime import datetime

from django.db import DatabaseError, close_old_connections, connection

from governance import wakeup
from governance.operations import installation, sweeping
from governance.runner import boot_id, host_name
from kernel.clock import utc_now
from sandbox import selectors as sandbox_selectors
from sandbox.runners.places import runner_options
from sandbox.runners.worker import RunnerPool
from sandbox.selection import Probe

log = logging.getLogger(__name__)

REPEAT_SECONDS = 30.0
PROBE_EVERY = 20
_stop = threading.Event()


def begin() -> None:
    """Announce this host, give up runs of its earlier boots, and start repeating the sign."""
    _announce(fresh=True)
    sweeping.abandon_orphans(host=host_name(), boot=boot_id(), now=utc_now())
    wakeup.ring()
    threading.Thread(target=_repeat, name="presence", daemon=True).start()


def end() -> None:
    """Stop repeating; the last sign ages by itself."""
    _stop.set()


def announced_since(moment: datetime) -> bool:
    """Tell whether a worker host gave a sign of life after `moment`."""
    return any(probe.seen_at >= moment for probe in sandbox_selectors.live_probes(moment))


def lacking(moment: datetime) -> tuple[str, ...]:
    """Return one line for each thing that a host announced since `moment` cannot enforce, and what helps."""
    hosts = [host for host in sandbox_selectors.live_probes(moment) if host.seen_at >= moment]
    findings = [finding for host in hosts for finding in sandbox_selectors.as_probe(host).findings]
    return tuple(f"{finding.message} {finding.remediation}" for finding in findings)


def _repeat() -> None:
    turn = 0
    while not _stop.wait(REPEAT_SECONDS):
        turn += 1
        _announce(fresh=turn % PROBE_EVERY == 0)
    connection.close()


def _announce(*, fresh: bool) -> None:
    close_old_connections()
    try:
        installation.announce_worker(
            host=host_name(), boot=boot_id(), probe=_probe(fresh=fresh), now=utc_now()
        )
    except DatabaseError:
        log.exception("the sign of life could not be written")


_last: list[Probe] = []


def _probe(*, fresh: bool) -> Probe:
    """Return what the host can enforce, measured now or at the last fresh turn."""
    if fresh or not _last:
        pool = RunnerPool(runner_options())
        try:
            _last[:] = [pool.start()]
        finally:
            pool.close()
    return _last[0]
