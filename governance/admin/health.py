"""Whether the machine is well: sandbox tiers, workers and queue, the journal. Reads only."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta

from governance.admin.isolation import degraded_words
from governance.journal import sealing_state
from governance.journal.models import JournalCheckpoint, JournalEvent, JournalPending
from sandbox.lifecycle import ExecutionState
from sandbox.models import Execution, SandboxProbe
from sandbox.selectors import live_probes, worker_seen
from sandbox.types import Executor

MOST_COUNTED = 1_000
TIERS = (
    ("A", "WebAssembly skills", Executor.TIER_A),
    ("C", "Programs in bubblewrap", Executor.TIER_C_LINUX),
    ("Built-in", "File tools beneath the workspace", Executor.BUILTIN_FS),
)


@dataclass(frozen=True, slots=True)
class Tier:
    """One tier: available, degraded or missing, why, and when a host last said so."""

    name: str
    about: str
    state: str
    reason: str
    seen_at: datetime | None


@dataclass(frozen=True, slots=True)
class Workers:
    """Hosts seen lately and the queue, counted up to a bound."""

    alive: bool
    hosts: tuple[str, ...]
    seen_at: datetime | None
    queued: str
    running: str
    oldest: datetime | None


@dataclass(frozen=True, slots=True)
class JournalState:
    """How the journal and its sealing stand.

    `state` is sealed, lagging, stalled or inconsistent. `unsealed` is counted up to a bound, `lag` is how
    long the oldest event has waited.
    """

    last: JournalEvent | None
    unsealed: str
    state: str
    lag: timedelta
    checkpoint: JournalCheckpoint | None

    @property
    def is_alarm(self) -> bool:
        return self.state in ("stalled", "inconsistent")


def tiers(now: datetime) -> tuple[Tier, ...]:
    """Return what the live worker hosts can enforce; without a host every tier is missing."""
    probes = live_probes(now)
    return tuple(_tier(name, about, executor, probes) for name, about, executor in TIERS)


def _tier(name: str, about: str, executor: Executor, probes: tuple[SandboxProbe, ...]) -> Tier:
    able = [probe for probe in probes if executor.value in probe.executors]
    if not able:
        seen = probes[0].seen_at if probes else None
        return Tier(name, about, "missing", _why_missing(probes), seen)
    weak = able[0].degraded if executor is Executor.TIER_C_LINUX else []
    reason = " ".join(degraded_words(weak))
    return Tier(name, about, "degraded" if weak else "available", reason, able[0].seen_at)


def _why_missing(probes: tuple[SandboxProbe, ...]) -> str:
    if not probes:
        return "No worker has reported."
    messages = [
        str(found.get("message", "")) for found in probes[0].findings if found.get("severity") == "error"
    ]
    return " ".join(messages) or "The probe did not pass on any host."


def workers(now: datetime) -> Workers:
    """Return the signs of life and the depth of the queue."""
    probes = live_probes(now)
    waiting = Execution.objects.filter(state=ExecutionState.QUEUED).order_by("queued_at")
    oldest = waiting.values_list("queued_at", flat=True).first()
    running = Execution.objects.filter(state=ExecutionState.RUNNING)
    return Workers(
        alive=worker_seen(now),
        hosts=tuple(sorted({probe.host for probe in probes if now - probe.seen_at < timedelta(hours=1)})),
        seen_at=probes[0].seen_at if probes else None,
        queued=_bounded(len(waiting.values_list("pk", flat=True)[: MOST_COUNTED + 1])),
        running=_bounded(len(running.values_list("pk", flat=True)[: MOST_COUNTED + 1])),
        oldest=oldest,
    )


def journal_state(now: datetime) -> JournalState:
    """Return the last event, the unsealed tail and what sealing says of itself."""
    last = JournalEvent.objects.order_by("-pk").defer("envelope").first()
    waiting = JournalPending.objects.order_by("n")
    oldest = waiting.values_list("event__time", flat=True).first()
    lag = max(timedelta(), now - oldest) if oldest else timedelta()
    refusal = sealing_state.refusal(now)
    state = "lagging" if lag > sealing_state.LAG_SHOWN else "sealed"
    if refusal is not None:
        state = "inconsistent" if refusal.code == "journal_inconsistent" else "stalled"
    tail = len(waiting.values_list("pk", flat=True)[: MOST_COUNTED + 1])
    return JournalState(last, _bounded(tail), state, lag, sealing_state.newest_checkpoint())


def _bounded(count: int) -> str:
    return f"{MOST_COUNTED}+" if count > MOST_COUNTED else str(count)
