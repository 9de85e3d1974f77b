"""What a field of a tool's input is, as far as its schema and its names say."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field


@dataclass(frozen=True, slots=True)
class ToolShape:
    """What patterns read of a tool's definition.

    `schema` is the JSON Schema of the input. `argv_template` is set for a tool that fills a fixed
    command; its first element is the program.
    """

    schema: Mapping[str, object] = field(default_factory=dict)
    capabilities: frozenset[str] = frozenset()
    argv_template: tuple[str, ...] = ()
