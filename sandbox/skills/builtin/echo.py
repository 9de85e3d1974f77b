"""The skill `local.echo`: its manifest facts, and its module compiled from the source beside it."""

from __future__ import annotations

from pathlib import Path

import wasmtime

from sandbox.skills.types import BuiltinSkill, SkillToolSpec

_SCHEMA: dict[str, object] = {
    "type": "object",
    "properties": {"text": {"type": "string", "maxLength": 4096}},
    "required": ["text"],
    "additionalProperties": False,
}

ECHO = BuiltinSkill(
    skill_id="local.echo",
    version="1.0.0",
    release=1,
    name="Echo",
    tool=SkillToolSpec(
        id="local.echo",
        module="modules/echo.wasm",
        description="Returns its input, from inside WebAssembly.",
        input_schema=_SCHEMA,
        output_schema=_SCHEMA,
    ),
)


def echo_module() -> bytes:
    """Return the module's bytes. Only text is translated here; nothing of it is compiled or run."""
    source = Path(__file__).with_name("echo.wat").read_text(encoding="utf-8")
    return bytes(wasmtime.wat2wasm(source))
