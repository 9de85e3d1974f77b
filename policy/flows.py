"""What a call takes into its session, and where it can send what is there."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from policy.types import ToolFacts

UNTRUSTED = "untrusted_content"
PRIVATE = "private_data"
FROM_SAFETY = frozenset({"injection_suspected", "secret_seen", "exfiltration_suspected"})
"""Labels that the safety part adds for its findings."""
KNOWN_LABELS = FROM_SAFETY | {UNTRUSTED, PRIVATE}
MAX_OWN_LABELS = 16
"""How many labels that administrators defined one holder takes on."""
EXTERNAL = "external_communication"
DESTRUCTIVE = "destructive"
SINKS = frozenset({EXTERNAL, DESTRUCTIVE})

ONLY_WITH_EGRESS = frozenset({"process.run"})
"""Tools whose labels and sinks hold for the calls that may reach the network, and for no others."""
_HOSTS = "requested_egress_hosts"


@dataclass(frozen=True, slots=True)
class Flow:
    """Labels that a call adds to its session, and the sinks it has."""

    adds_labels: frozenset[str] = frozenset()
    sinks: frozenset[str] = frozenset()


NO_FLOW = Flow()
OF_SKILLS = Flow(adds_labels=frozenset({UNTRUSTED}))
"""A skill is somebody else's code; today's have no capability that reaches out."""


def flow_of(tool: ToolFacts | None, tool_input: Mapping[str, object], *, egress: bool = False) -> Flow:
    """Return the flow of one call; None for a tool means a skill.

    `egress` says that the place the call runs in lets it reach a host, whatever it asked for.
    """
    if tool is None:
        return OF_SKILLS
    if tool.name in ONLY_WITH_EGRESS and not egress and not tool_input.get(_HOSTS):
        return NO_FLOW
    return Flow(tool.adds_labels, tool.sinks)


def own_labels(labels: frozenset[str]) -> frozenset[str]:
    """Return those labels that are not Palyra's: what administrators defined."""
    return labels - KNOWN_LABELS
