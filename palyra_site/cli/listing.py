"""Lists: one page, or all pages as they arrive."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any

from palyra_site.cli.session import Session

if TYPE_CHECKING:
    from palyra_site.cli.client import Collection


def write_list(
    session: Session,
    collection: Collection,
    filters: Mapping[str, Any],
    columns: tuple[str, ...],
    *,
    everything: bool,
) -> None:
    """Write one page, saying on standard error when there is more, or every page's items."""
    if everything:
        session.output.items(every_item(session, collection, filters), columns)
        return
    answer = session.elevated(lambda: collection.page(filters))
    data = answer.data
    session.output.page(answer.text, data, columns)
    if data.get("has_more"):
        session.say(f"more: --cursor {data.get('next_cursor')}, or --all")


def write_one(session: Session, collection: Collection, name: str) -> None:
    """Write one object by its id."""
    answer = session.elevated(lambda: collection.show(name))
    session.output.one(answer.text, answer.data)


def every_item(
    session: Session, collection: Collection, filters: Mapping[str, Any]
) -> Iterator[Mapping[str, Any]]:
    """Yield the items of page after page until the server has no more."""
    wanted = dict(filters)
    while True:
        data = session.elevated(lambda: collection.page(wanted)).data
        yield from (item for item in data.get("data") or () if isinstance(item, dict))
        following = data.get("next_cursor")
        if not data.get("has_more") or not following or following == wanted.get("cursor"):
            return
        wanted["cursor"] = following
