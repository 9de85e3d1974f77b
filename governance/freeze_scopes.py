"""What a freeze stops: pure values, asked at gate 2, by every claim and by every allow."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from enum import StrEnum

FROZEN = "run.frozen"
"""The reason of every call that a freeze kept from starting or stopped."""
ALLOWED: dict[str, frozenset[str]] = {"active": frozenset({"lifted"})}
SHORTEST_REASON, LONGEST_REASON = 10, 1000


class FreezeScope(StrEnum):
    GLOBAL = "global"
    AGENT = "agent"
    TOOL = "tool"
    SKILL = "skill"
    DEVICE = "device"
    RUN = "run"


@dataclass(frozen=True, slots=True)
class Work:
    """What is about to start: who does it, in which run, through which device, with what."""

    agent_id: str
    run_id: str
    device_id: str = ""
    tool: str = ""
    skill_id: str = ""


@dataclass(frozen=True, slots=True)
class Standing:
    """A freeze that reaches the workspace of some work; whether it covers it is `covers`'s question."""

    id: str
    scope: str
    scope_id: str

    @property
    def words(self) -> str:
        return "everything" if self.scope == FreezeScope.GLOBAL else f"the {self.scope} {self.scope_id}"


def covers(freeze: Standing, work: Work) -> bool:
    """Tell whether the freeze stops this work. A scope that is not known stops everything."""
    named = {
        FreezeScope.AGENT: work.agent_id,
        FreezeScope.TOOL: work.tool,
        FreezeScope.SKILL: work.skill_id,
        FreezeScope.DEVICE: work.device_id,
        FreezeScope.RUN: work.run_id,
    }
    if freeze.scope not in named:
        return True
    return freeze.scope_id == named[FreezeScope(freeze.scope)]


def covering(freezes: Iterable[Standing], work: Work) -> Standing | None:
    """Return the first freeze that stops this work, or None."""
    return next((freeze for freeze in freezes if covers(freeze, work)), None)
