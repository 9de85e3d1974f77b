"""Scopes of a posture as people type them: global, workspace:ID, agent:ID, session:ID."""

from __future__ import annotations

from typing import Annotated

import typer

from palyra_site.cli.arguments import require_id
from palyra_site.cli.failures import UsageError

_PREFIXES = {"workspace": "wsp", "agent": "agt", "session": "ses"}

Scope = Annotated[
    str | None,
    typer.Option("--scope", metavar="SCOPE", help="global, workspace:ID, agent:ID or session:ID."),
]


def scope_of(text: str | None) -> dict[str, str]:
    """Return the scope as the API takes it, empty for none; UsageError for what is no scope."""
    if text is None:
        return {}
    if text == "global":
        return {"scope_kind": "global"}
    kind, colon, identifier = text.partition(":")
    if kind not in _PREFIXES or not colon:
        raise UsageError(f"{text} is no scope: use global, workspace:ID, agent:ID or session:ID.")
    return {"scope_kind": kind, "scope_id": require_id(_PREFIXES[kind], identifier)}


def required_scope(text: str | None) -> dict[str, str]:
    """Return the scope of a change, which has to be named."""
    if text is None:
        raise UsageError("Name the scope: --scope global, workspace:ID, agent:ID or session:ID.")
    return scope_of(text)
