"""Secrets that the server tells once: written to standard output, or to a private file, and nowhere else."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from palyra_site.cli.exits import Exit
from palyra_site.cli.failures import CliError, UsageError
from palyra_site.cli.options import Format
from palyra_site.cli.output import flatten
from palyra_site.cli.private import replacing
from palyra_site.cli.session import Session

if TYPE_CHECKING:
    from palyra_site.cli.connection import Answer

Out = Annotated[
    str | None, typer.Option("--out", help="Write the secret to this file (mode 0600), not to stdout.")
]


def tell_once(
    session: Session, send: Callable[[], Answer], *, field: str, out: str | None
) -> Mapping[str, Any]:
    """Send, write the answer with its secret `field` and return it; `--quiet` writes the secret alone.

    With `out` the file is made before anything is sent, so that a full disk or a wrong path costs no
    secret, and standard output gets the rest of the answer.
    """
    if out == "-":
        raise UsageError("--out takes a file; without it the secret goes to standard output.")
    if out is not None:
        return _to_file(session, send, field, Path(out))
    answer = session.elevated(send)
    secret = _secret(answer.data, field)
    _write(session, answer, field, secret)
    if session.output.terminal:
        session.say(f"the {_words(field)} is shown this once; keep it now")
    return answer.data


def _write(session: Session, answer: Answer, field: str, secret: str) -> None:
    """In a table on a terminal the secret has a line of its own, so that no column folds it."""
    output = session.output
    if output.quiet:
        output.raw(secret)
    elif output.terminal and output.format is Format.TABLE and not output.columns:
        output.one(answer.text, answer.data, [item for item in flatten(answer.data) if item[0] != field])
        output.raw(secret)
    else:
        output.one(answer.text, answer.data)


def _to_file(session: Session, send: Callable[[], Answer], field: str, path: Path) -> Mapping[str, Any]:
    made: dict[str, Any] = {}
    try:
        if path.is_dir():
            raise IsADirectoryError
        with replacing(path) as file:
            made = session.elevated(send).data
            file.write(f"{_secret(made, field)}\n")
    except OSError as error:
        if not made:
            raise UsageError(f"{path} cannot be written; nothing was sent.") from error
        raise CliError(
            "file",
            f"{path} could not be written; the {_words(field)} of {made.get('id')} is lost.",
            exit_code=Exit.INTERNAL,
        ) from error
    session.output.value({name: value for name, value in made.items() if name != field})
    session.say(f"the {_words(field)} is in {path}")
    return made


def _secret(data: Mapping[str, Any], field: str) -> str:
    """Return the secret, or raise for an answer that was told before and is repeated without it."""
    secret = data.get(field)
    if isinstance(secret, str) and secret:
        return secret
    name = str(data.get("id"))
    raise CliError(
        "secret_withheld",
        f"{name} was made by an earlier try; its {_words(field)} was told then and never again.",
        exit_code=Exit.CONFLICT,
        hint=_rotation(name),
    )


def _rotation(name: str) -> str | None:
    """Return the command that makes a new secret of this object."""
    noun = {"tok": "tokens", "whk": "webhooks"}.get(name.partition("_")[0])
    return f"palyra {noun} rotate {name}" if noun else None


def _words(field: str) -> str:
    return field.replace("_", " ")
