"""`palyra policy explain` and `schema`: why the server decides as it does, asked of the server itself."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Annotated, Any

import typer

from palyra_site.cli.arguments import parse_json, read_source, require_id, tool_input
from palyra_site.cli.exits import Exit
from palyra_site.cli.failures import UsageError
from palyra_site.cli.options import Format
from palyra_site.cli.session import Session, current

_QUOTED = re.compile(r'(?:Palyra::)?([A-Za-z]+)::"(.*)"', re.DOTALL)
_KINDS = {"agt": "Agent", "usr": "User", "wsp": "Workspace", "pol": "PolicySet", "skl": "Skill"}
_WORDS = {True: "true", False: "false", None: "error"}

Principal = Annotated[str | None, typer.Option("--principal", help="agt_…, usr_…, or TYPE:ID.")]
Action = Annotated[str | None, typer.Option("--action", help="Such as tool.execute or policy.activate.")]
Resource = Annotated[str | None, typer.Option("--resource", help="TYPE:ID; a plain name is a tool.")]
Context = Annotated[str | None, typer.Option("--context", help="@file or - with JSON: input, channel, …")]
Tool = Annotated[str | None, typer.Option("--tool", help="Name of the tool; with --agent.")]
Agent = Annotated[str | None, typer.Option("--agent", help="agt_… that would call it.")]
Input = Annotated[list[str] | None, typer.Option("--input", help="@file, - or KEY=VALUE.")]
Call = Annotated[str | None, typer.Option("--call", help="call_… that was decided.")]
Set = Annotated[str | None, typer.Option("--set", help="pol_…, active, or recorded with --call.")]
SessionId = Annotated[str | None, typer.Option("--session", help="ses_… or its key.")]


def explain(
    ctx: typer.Context,
    *,
    principal: Principal = None,
    action: Action = None,
    resource: Resource = None,
    context: Context = None,
    tool: Tool = None,
    input_: Input = None,
    agent: Agent = None,
    call: Call = None,
    policy_set: Set = None,
    session_id: SessionId = None,
) -> None:
    """Say what decides, clause by clause, and the least that would allow. Nothing is written.

    Exit 0 when the answer is allow or require_approval, 6 when it is deny.
    """
    session = current(ctx)
    if call is not None:
        if any((principal, action, resource, context, tool, input_, agent, session_id)):
            raise UsageError("--call takes only --set beside it.")
        body: dict[str, Any] = {"call_id": require_id("call", call)}
    elif tool is not None:
        if any((principal, action, resource)) or agent is None:
            raise UsageError("--tool goes with --agent, and without --principal, --action and --resource.")
        body = _of_tool(tool, require_id("agt", agent))
    else:
        body = _of_entities(principal, action, resource, agent)
    given = _context(session, context, input_, session_id)
    answer = session.api.explain({**body, **({"context": given} if given else {}), **_named(policy_set)})
    session.output.one(answer.text, answer.data, fields=list(summary(answer.data)))
    if answer.data.get("outcome", {}).get("effect") == "deny":
        raise typer.Exit(Exit.REFUSED)


def schema(
    ctx: typer.Context,
    *,
    tool: Annotated[str | None, typer.Option("--tool", help="Only what this tool adds.")] = None,
) -> None:
    """Print the Cedar schema that rules are checked against."""
    session = current(ctx)
    answer = session.api.policy_schema(tool)
    if session.output.format is Format.TABLE:
        session.output.raw(str(answer.data.get("schema", "")))
    else:
        session.output.one(answer.text, answer.data)


def register(app: typer.Typer) -> None:
    """Add the commands to `palyra policy`."""
    example = "Example: palyra policy explain --tool http.fetch --agent agt_… --input url=https://a.example/"
    app.command(epilog=example)(explain)
    app.command(epilog="Example: palyra policy schema --tool http.fetch")(schema)


def summary(data: dict[str, Any]) -> Iterator[tuple[str, Any]]:
    """Yield what a person reads: the answer, what decided, each clause, and the ways out."""
    decision = data.get("decision", {})
    yield "outcome", data.get("outcome", {}).get("effect")
    yield "reason_code", data.get("outcome", {}).get("reason_code")
    yield "policy", f"{decision.get('effect')} {decision.get('reason_code')}: {decision.get('reason')}"
    for gate in data.get("gates", []):
        yield f"gate {gate['gate']}", f"{gate['verdict']} {gate['reason_code']}: {gate['reason']}"
    for title, rules in (
        ("decided by", decision.get("determining_policies", [])),
        ("outweighed", data.get("outweighed", [])),
        ("near miss", data.get("near_misses", [])),
    ):
        for rule in rules:
            yield title, f"{rule['effect']} {rule['id']} ({rule['file']}:{rule['line']}) {rule['holds']}"
    for clause in data.get("clauses", []):
        place = f"{clause['condition']} {clause['policy']} {clause['path']}"
        yield place, f"{_WORDS[clause['value']]}  {clause['text']}"
    for label, calls in data.get("labels", {}).items():
        yield f"label {label}", ", ".join(calls)
    for change in data.get("minimal_change", []):
        yield "would allow", " + ".join(change)
    for error in data.get("diagnostics_errors", []):
        yield f"failed {error['policy']}", error["error"]


def entity(text: str) -> dict[str, str]:
    """Return the entity of `TYPE:ID`, `Type::"id"`, a prefixed id, or the name of a tool."""
    quoted = _QUOTED.fullmatch(text)
    if quoted is not None:
        return {"type": quoted[1], "id": quoted[2]}
    kind, colon, name = text.partition(":")
    if colon:
        return {"type": kind, "id": name}
    return {"type": _KINDS.get(text.partition("_")[0], "Tool"), "id": text}


def _of_tool(tool: str, agent: str) -> dict[str, Any]:
    return {"principal": entity(agent), "action": "tool.execute", "resource": {"type": "Tool", "id": tool}}


def _of_entities(
    principal: str | None, action: str | None, resource: str | None, agent: str | None
) -> dict[str, Any]:
    if not (principal and action and resource) or agent is not None:
        raise UsageError("Give --principal, --action and --resource, or --tool and --agent, or --call.")
    return {"principal": entity(principal), "action": action, "resource": entity(resource)}


def _context(
    session: Session, source: str | None, input_: list[str] | None, session_id: str | None
) -> dict[str, Any]:
    found: dict[str, Any] = {}
    if source is not None:
        if source != "-" and not source.startswith("@"):
            raise UsageError("--context takes @file or -.")
        found = parse_json(read_source(source, session.world))
        if not isinstance(found, dict):
            raise UsageError("The context is a JSON object.")
    if input_:
        found["input"] = tool_input(input_, session.world)
    if session_id is not None:
        found["session_id"] = session_id
    return found


def _named(policy_set: str | None) -> dict[str, str]:
    return {} if policy_set is None else {"policy_set": policy_set}
