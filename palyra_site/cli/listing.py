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
        session.output.items(_every_item(collection, filters), columns)
        return
    answer = collection.page(filters)
    data = answer.data
    session.output.page(answer.text, data, columns)
    if data.get("has_more"):
        session.say(f"more: --cursor {data.get('next_cursor')}, or --all")


def _every_item(collection: Collection, filters: Mapping[str, Any]) -> Iterator[Mapping[str, Any]]:
    for answer in collection.pages(filters):
        for item in answer.data.get("data") or ():
            if isinstance(item, dict):
                yield item
