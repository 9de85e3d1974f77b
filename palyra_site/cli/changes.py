"""Changes to objects: made, moved by a verb, edited against what was seen. Each asks first."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

from palyra_site.cli.exits import Exit
from palyra_site.cli.failures import CliError, UsageError
from palyra_site.cli.output import cell
from palyra_site.cli.session import Session

if TYPE_CHECKING:
    from palyra_site.cli.client import Collection
    from palyra_site.cli.connection import Answer


def create(session: Session, collection: Collection, body: Mapping[str, Any], question: str) -> None:
    """Ask, make one object and write it."""
    session.confirm(question)
    key = session.new_key()
    answer = session.elevated(lambda: collection.create(body, key=key))
    session.output.one(answer.text, answer.data)


def act(session: Session, collection: Collection, name: str, verb: str, reason: str | None) -> None:
    """Ask, send one verb about one object and write the answer."""
    session.confirm(f"{verb.capitalize()} {name}?")
    _send(session, collection, name, verb, reason)


def act_for_good(
    session: Session, collection: Collection, name: str, verb: str, reason: str | None, *, label: str
) -> None:
    """Like `act` for what cannot be undone: the person types the field `label` of the object in full."""
    session.require_consent_by_name()
    if not session.options.yes:
        seen = session.elevated(lambda: collection.show(name)).data
        session.confirm_by_name(f"{verb.capitalize()} {name}.", typable(seen.get(label), name))
    _send(session, collection, name, verb, reason)


def edit(
    session: Session,
    collection: Collection,
    name: str,
    changes: Mapping[str, Any],
    *,
    if_match: str | None = None,
) -> None:
    """Show what would change, ask, and send it with the ETag that was shown, or with `if_match`."""
    if not changes:
        raise UsageError("Nothing to change was given.")
    session.require_consent()
    tag = if_match or _shown(session, collection.show, name, changes)
    session.confirm(f"Change {name}?")
    answer = session.elevated(lambda: collection.change(name, changes, if_match=tag))
    session.output.one(answer.text, answer.data)


def typable(label: object, otherwise: str) -> str:
    """Return the text a person is to type: the label when it is one plain line, else the id."""
    plain = isinstance(label, str) and label.isprintable() and label == label.strip() and label
    return str(label) if plain else otherwise


def _send(session: Session, collection: Collection, name: str, verb: str, reason: str | None) -> None:
    key = session.new_key()
    body = {} if reason is None else {"reason": reason}
    answer = session.elevated(lambda: collection.act(name, verb, body, key=key))
    session.output.one(answer.text, answer.data)


def _shown(session: Session, show: Callable[[str], Answer], name: str, changes: Mapping[str, Any]) -> str:
    """Write the difference to standard error and return the ETag of what it was taken from.

    What the object does not have, such as a reason, is sent and not compared.
    """
    seen = session.elevated(lambda: show(name))
    for field, value in changes.items():
        if field in seen.data:
            before = cell(seen.data[field]) or "(empty)"
            session.say(f"{field}: {before} -> {cell(value) or '(empty)'}")
    tag = seen.headers.get("ETag")
    if not tag:
        raise CliError("invalid_answer", "The server sent no version.", exit_code=Exit.INTERNAL)
    return tag
