"""What differs between two sets of arguments, by JSON pointer. Pure and total."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass

from governance.admin.patches import Pair, side_by_side
from governance.safety.visible import visible

MOST_CHANGES = 200


@dataclass(frozen=True, slots=True)
class ArgumentChange:
    """One place that differs: `kind` is added, removed or changed. `rows` compare texts of many lines."""

    pointer: str
    kind: str
    before: str
    after: str
    rows: tuple[Pair, ...]


@dataclass(frozen=True, slots=True)
class ArgumentDiff:
    """The places that differ, in order, and those that do not. `left_off` are beyond the bound."""

    changes: tuple[ArgumentChange, ...]
    same: tuple[tuple[str, str], ...]
    left_off: int


def diff_of(before: object, after: object) -> ArgumentDiff:
    """Compare two JSON values leaf by leaf; `before` is the older one."""
    old, new = leaves(before), leaves(after)
    pointers = list(dict.fromkeys((*new, *old)))
    unchanged = [at for at in pointers if at in old and at in new and old[at] == new[at]]
    same = frozenset(unchanged)
    changed = [at for at in pointers if at not in same]
    return ArgumentDiff(
        changes=tuple(_change(at, old, new) for at in changed[:MOST_CHANGES]),
        same=tuple((visible(at), visible(new[at])) for at in unchanged[:MOST_CHANGES]),
        left_off=max(0, len(changed) - MOST_CHANGES),
    )


def leaves(value: object, pointer: str = "") -> dict[str, str]:
    """Return every leaf as JSON text by its pointer (RFC 6901); an empty container is a leaf.

    A value that was cut when it was stored is one leaf: its digest makes it comparable.
    """
    if isinstance(value, Mapping) and value and "_truncated" not in value:
        found: dict[str, str] = {}
        for name, item in value.items():
            found |= leaves(item, f"{pointer}/{_escaped(str(name))}")
        return found
    if isinstance(value, list) and value:
        found = {}
        for at, item in enumerate(value):
            found |= leaves(item, f"{pointer}/{at}")
        return found
    return {pointer: json.dumps(value, ensure_ascii=False, sort_keys=True)}


def _escaped(name: str) -> str:
    return name.replace("~", "~0").replace("/", "~1")


def _change(pointer: str, old: Mapping[str, str], new: Mapping[str, str]) -> ArgumentChange:
    before, after = old.get(pointer), new.get(pointer)
    kind = "added" if before is None else "removed" if after is None else "changed"
    rows = _rows(before, after) if before is not None and after is not None else ()
    return ArgumentChange(visible(pointer) or "(everything)", kind, _said(before), _said(after), rows)


def _rows(before: str, after: str) -> tuple[Pair, ...]:
    """Compare two texts line by line when one of them has several lines."""
    old, new = _text(json.loads(before)), _text(json.loads(after))
    if old is None or new is None or "\n" not in old + new:
        return ()
    return side_by_side(old, new)


def _text(value: object) -> str | None:
    """Return a text, or the beginning of one that was cut with how it goes on; None for anything else."""
    if isinstance(value, Mapping) and "_truncated" in value:
        return f"{value.get('_head', '')}\n… cut; {value.get('bytes')} bytes, sha256 {value.get('sha256')}"
    return value if isinstance(value, str) else None


def _said(leaf: str | None) -> str:
    if leaf is None:
        return ""
    value = json.loads(leaf)
    return visible(_text(value) or "" if isinstance(value, Mapping) and value else leaf)
