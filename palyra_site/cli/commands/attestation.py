"""`palyra attestation`: the signed statement about one call."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any

import typer

from palyra_site.cli.arguments import parse_json, read_source, require_id
from palyra_site.cli.commands.journal_verify import Keys
from palyra_site.cli.exits import Exit
from palyra_site.cli.failures import UsageError
from palyra_site.cli.session import current

app = typer.Typer(help="The signed statement about one call.", no_args_is_help=True)


@app.command(epilog="Example: palyra attestation show call_01JD2Q8ZV0C3M4N5P6R7S8T9VW --json")
def show(ctx: typer.Context, *, call_id: Annotated[str, typer.Argument(metavar="ID", help="call_…")]) -> None:
    """Show the attestation of a call: with --json the envelope as it was signed, else what it says."""
    from palyra_site.cli.journal_api import journal_of

    session = current(ctx)
    answer = journal_of(session).attestation(require_id("call", call_id))
    said = _statement_of(answer.data)
    fields = list(_flat(said)) if said is not None else None
    session.output.one(answer.text, answer.data, fields, identity=call_id)


@app.command(epilog="Example: palyra attestation verify call.dsse.json")
def verify(
    ctx: typer.Context,
    *,
    file: Annotated[Path, typer.Argument(metavar="FILE", help="A DSSE envelope; - is stdin.")],
    key: Keys = None,
) -> None:
    """Have the server judge an attestation, or check it here against --key. Exit 12 when it does not hold."""
    session = current(ctx)
    source = "-" if str(file) == "-" else f"@{file}"
    text = read_source(source, session.world)
    if key:
        verdict: Mapping[str, Any] = _judged_here(text, key)
        session.output.value(verdict)
    else:
        from palyra_site.cli.journal_api import journal_of

        envelope = parse_json(text)
        if not isinstance(envelope, dict):
            raise UsageError("An attestation is a JSON object.")
        answer = journal_of(session).judge(envelope)
        verdict = answer.data
        session.output.one(answer.text, verdict)
    if verdict.get("valid") is not True:
        raise typer.Exit(Exit.FINDINGS)


def _judged_here(text: str, key: list[str]) -> dict[str, Any]:
    from kernel.errors import PalyraError
    from palyra_site.cli.offline_keys import read_anchors
    from sandbox.attestation import verify_envelope

    keys = read_anchors(key).attestation_keys()
    try:
        statement = verify_envelope(text, keys)
    except PalyraError as error:
        return {"object": "attestation_verdict", "valid": False, "code": error.code, "statement": None}
    said = {name: value for name, value in statement.predicate.items() if not isinstance(value, dict | list)}
    return {"object": "attestation_verdict", "valid": True, "code": None, "statement": said}


def _statement_of(envelope: Mapping[str, Any]) -> Mapping[str, Any] | None:
    """Return what an envelope says, None when it cannot be read. Its signature is not judged here."""
    import base64
    import json

    try:
        statement = json.loads(base64.b64decode(str(envelope.get("payload"))))
    except ValueError:
        return None
    said = statement.get("predicate") if isinstance(statement, dict) else None
    return said if isinstance(said, dict) else None


def _flat(said: Mapping[str, Any]) -> Any:
    from palyra_site.cli.output import flatten

    return flatten(dict(said))
