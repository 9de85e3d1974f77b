"""The one function that changes a state column."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from django.db.models import Model, QuerySet

from kernel.errors import ConflictError


def transition(
    rows: QuerySet[Any, Any],
    allowed: Mapping[str, frozenset[str]],
    *,
    source: str,
    target: str,
    column: str = "state",
    **changes: object,
) -> None:
    """Move exactly one row from `source` to `target`, setting `changes`, by compare-and-set.

    `rows` selects the row by key; the source state joins the WHERE clause, so a concurrent change
    makes the update hit no row. Raises ConflictError `state_changed` when it did not hit exactly
    one, ValueError when the table `allowed` has no such edge (a programming error).
    """
    if target not in allowed.get(source, frozenset()):
        raise ValueError(f"{_name(rows)}: no transition {source} -> {target}")
    hit = rows.filter(**{column: source}).update(**{column: target}, **changes)
    if hit != 1:
        raise ConflictError("state_changed", f"{_name(rows)} is no longer {source}.")


def _name(rows: QuerySet[Any, Any]) -> str:
    model: type[Model] = rows.model
    return str(model._meta.verbose_name)
