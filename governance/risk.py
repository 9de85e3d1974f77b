"""ApprovalRiskLevel: the highest of all floors that what is asked about stands on (approvals part §3.2).

A floor raises the level and nothing lowers it. What is not known is as risky as it could be.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from approvals.types import Risk, SubjectType

_ORDER = tuple(Risk)
_WORDS = {
    "process_exec": "starts a program",
    "network": "reaches the network",
    "secrets_read": "reads secrets",
    "filesystem_write": "writes files",
    "filesystem_read": "reads files",
    "artifacts_read": "reads stored artifacts",
    "memory_read": "reads memories",
    "memory_write": "writes memories",
}
_READERS = """
    basename cat cmp comm cut diff dirname du echo expr false grep head id join ls md5sum nl od paste printf
    pwd seq sha256sum sleep stat tac tail test tr true uname wc
"""
READ_ONLY_PROGRAMS = frozenset(_READERS.split())
"""Programs that write nothing and start nothing, whatever their arguments are."""
_SYSTEM_FOLDERS = frozenset({"/bin", "/usr/bin"})
_OF_SUBJECT = {
    SubjectType.DEVICE_PAIRING: (Risk.HIGH, "A device that is paired acts for its owner."),
    SubjectType.NODE_CAPABILITY: (Risk.HIGH, "It acts on a device of a person."),
    SubjectType.SAFETY_RELEASE: (Risk.HIGH, "It releases a text that was held back."),
    SubjectType.POLICY_ACTIVATION: (Risk.CRITICAL, "The rules decide about every call of every agent."),
    SubjectType.ERASURE: (Risk.CRITICAL, "What is erased cannot be brought back."),
}


@dataclass(frozen=True, slots=True)
class Floor:
    """A level that the risk does not fall below, and the sentence that says why."""

    risk: str
    reason: str


@dataclass(frozen=True, slots=True)
class Assessment:
    """The level, and why: the reasons of the highest floors first."""

    risk: str
    reasons: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class RiskFacts:
    """What is known of a question. `rated` is the risk its tool or skill declares, empty when it has none.

    `known` is False for a tool of no definition. `argv` is the command line, None where none is started.
    `sends_body` says that the request carries a body; `verified` that the skill's publisher was accepted
    by a person, None where there is no skill; `overridden` that a recalled or quarantined one is to run.
    `flagged` says that the secret itself asks for a person, `own_channel` that a message goes back to
    where the run came from. `raise_percent` is what is asked for, in percent of the limit in force.
    `asked` are the levels that rules name.
    """

    subject_type: str
    rated: str = ""
    known: bool = True
    capabilities: frozenset[str] = frozenset()
    tier: str = ""
    egress_mode: str = "strict"
    argv: tuple[str, ...] | None = None
    sends_body: bool = False
    verified: bool | None = None
    overridden: bool = False
    flagged: bool = False
    own_channel: bool = False
    raise_percent: int | None = None
    asked: tuple[str, ...] = ()


def assess(facts: RiskFacts) -> Assessment:
    """Return the level of a question with its reasons. Total: a level that is not known is critical."""
    floors = sorted(_floors(facts), key=lambda floor: -_rank(floor.risk))
    reasons = dict.fromkeys(floor.reason for floor in floors if floor.reason)
    return Assessment(highest(floor.risk for floor in floors), tuple(reasons))


def highest(risks: Iterable[str]) -> Risk:
    """Return the greatest level; low when there is none, critical for one that is not known."""
    return _ORDER[max((_rank(risk) for risk in risks), default=0)]


def is_read_only(argv: tuple[str, ...]) -> bool:
    """Tell whether a command line only reads: a program of the system that can do nothing else."""
    folder, _, name = argv[0].rpartition("/") if argv else ("", "", "")
    return folder in _SYSTEM_FOLDERS and name in READ_ONLY_PROGRAMS


def _rank(risk: str) -> int:
    return next((rank for rank, known in enumerate(_ORDER) if known == risk), len(_ORDER) - 1)


def _floors(facts: RiskFacts) -> Iterable[Floor]:
    yield Floor(Risk.LOW, "")
    yield from _of_subject(facts)
    if facts.rated:
        yield Floor(facts.rated, f"It is rated {facts.rated}.")
    yield from (Floor(risk, f"A rule asks for a person at risk {risk}.") for risk in facts.asked)
    yield from _of_capabilities(facts)
    yield from _of_skill(facts)


def _of_subject(facts: RiskFacts) -> Iterable[Floor]:
    if facts.subject_type not in frozenset(SubjectType):
        yield Floor(Risk.CRITICAL, "What it is about is not known.")
    if not facts.known:
        yield Floor(Risk.CRITICAL, "No definition says what it does.")
    if facts.subject_type in _OF_SUBJECT:
        yield Floor(*_OF_SUBJECT[SubjectType(facts.subject_type)])
    if facts.subject_type == SubjectType.BUDGET_OVERRIDE:
        yield _of_raise(facts.raise_percent)
    if facts.subject_type == SubjectType.SECRET_ACCESS:
        yield (
            Floor(Risk.HIGH, "The secret itself asks for a person.")
            if facts.flagged
            else Floor(Risk.MEDIUM, "It uses a secret.")
        )
    if facts.subject_type == SubjectType.CHANNEL_SEND:
        yield (
            Floor(Risk.LOW, "It answers in the channel it came from.")
            if facts.own_channel
            else Floor(Risk.HIGH, "It sends to somebody else.")
        )


def _of_raise(percent: int | None) -> Floor:
    if percent is None or percent > 100:
        return Floor(Risk.HIGH, "It more than doubles the limit.")
    if percent > 50:
        return Floor(Risk.MEDIUM, f"It raises the limit by {percent} percent.")
    return Floor(Risk.LOW, f"It raises the limit by {percent} percent.")


def _of_capabilities(facts: RiskFacts) -> Iterable[Floor]:
    held = facts.capabilities
    for name in sorted(held):
        yield Floor(Risk.LOW, f"It {_WORDS.get(name, f'holds the capability {name}')}.")
    if "filesystem_write" in held:
        yield Floor(Risk.HIGH, "It may change or destroy files.")
    if "process_exec" in held:
        yield _of_process(facts)
    if "network" in held and facts.sends_body:
        yield Floor(Risk.HIGH, "It sends a body over the network.")
    if {"secrets_read", "network"} <= held:
        yield Floor(Risk.CRITICAL, "It reads secrets and reaches the network.")
    if facts.egress_mode == "none":
        yield Floor(Risk.CRITICAL, "Nothing enforces where it may connect to.")


def _of_process(facts: RiskFacts) -> Floor:
    if facts.tier != "C":
        return Floor(Risk.CRITICAL, "It starts a program outside the sandbox of tier C.")
    if facts.argv is not None and is_read_only(facts.argv):
        return Floor(Risk.MEDIUM, "It starts a program that only reads, in tier C.")
    return Floor(Risk.HIGH, "It starts a program in tier C.")


def _of_skill(facts: RiskFacts) -> Iterable[Floor]:
    if facts.verified is False or (facts.subject_type == SubjectType.SKILL and facts.verified is None):
        yield Floor(Risk.HIGH, "Nobody here vouches for the publisher of the skill.")
    if facts.overridden:
        yield Floor(Risk.CRITICAL, "The skill was recalled or quarantined.")
