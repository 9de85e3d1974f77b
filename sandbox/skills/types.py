"""Plain values of skills: the tools of a manifest, the answer of gate 4, a module to run."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from types import MappingProxyType

from kernel.canonical import digest
from sandbox.skills.lifecycle import GateCode

PAYLOAD_FORMAT = "palyra.skill.payload.v1"
MANIFEST_PATH = "manifest.json"


class Verdict(StrEnum):
    PASS = "pass"
    DENY = "deny"


@dataclass(frozen=True, slots=True)
class SkillLimits:
    """What one execution may spend; the defaults of the manifest (skills part, §3.2)."""

    fuel: int = 10_000_000
    memory_bytes: int = 16_777_216
    wall_ms: int = 5_000
    output_bytes: int = 65_536

    def to_json(self) -> dict[str, int]:
        return {
            "fuel": self.fuel,
            "memory_bytes": self.memory_bytes,
            "wall_ms": self.wall_ms,
            "output_bytes": self.output_bytes,
        }


@dataclass(frozen=True, slots=True)
class SkillToolSpec:
    """One `[[tools]]` entry, schemas resolved."""

    id: str
    module: str
    description: str
    input_schema: Mapping[str, object]
    output_schema: Mapping[str, object]
    entrypoint: str = "run"
    risk: str = "low"
    requires_approval: bool = False
    default_sensitive: bool = False
    uses: tuple[str, ...] = ()

    def to_json(self) -> dict[str, object]:
        return {
            "id": self.id,
            "module": self.module,
            "entrypoint": self.entrypoint,
            "description": self.description,
            "input_schema": dict(self.input_schema),
            "output_schema": dict(self.output_schema),
            "risk": self.risk,
            "requires_approval": self.requires_approval,
            "default_sensitive": self.default_sensitive,
            "uses": list(self.uses),
        }


@dataclass(frozen=True, slots=True)
class BuiltinSkill:
    """A skill that ships with the server and is installed by bootstrap: one module, no capability."""

    skill_id: str
    version: str
    release: int
    name: str
    tool: SkillToolSpec
    limits: SkillLimits = field(default_factory=SkillLimits)

    def manifest(self) -> dict[str, object]:
        return {
            "manifest_version": 1,
            "skill_id": self.skill_id,
            "version": self.version,
            "release": self.release,
            "publisher": self.skill_id.partition(".")[0],
            "name": self.name,
            "compat": {"abi": 1},
            "limits": self.limits.to_json(),
            "capabilities": {},
            "tools": [self.tool.to_json()],
        }


@dataclass(frozen=True, slots=True)
class SkillTool:
    """A tool as a known version declares it. `limits` and schemas come from the stored manifest."""

    id: str
    skl_id: str
    skill_id: str
    version: str
    description: str
    entrypoint: str
    module: str
    input_schema: Mapping[str, object]
    output_schema: Mapping[str, object]
    limits: SkillLimits
    risk: str
    requires_approval: bool
    default_sensitive: bool
    uses: tuple[str, ...]
    payload_digest: str
    status: str
    publisher: str
    trust: str


@dataclass(frozen=True, slots=True)
class SkillGateDecision:
    """Answer of gate 4. Everything but `verdict` and `code` is None when no version was resolved."""

    verdict: Verdict
    code: GateCode
    skl_id: str | None = None
    skill_id: str | None = None
    version: str | None = None
    payload_digest: str | None = None
    status: str | None = None
    publisher: str | None = None
    trust: str | None = None
    risk: str | None = None
    requires_approval: bool = False
    default_sensitive: bool = False
    input_schema: Mapping[str, object] = field(default_factory=lambda: MappingProxyType({}))

    def to_json(self) -> dict[str, object]:
        """Return the data of `skill.gate_decided` that this part knows."""
        return {
            "skl_id": self.skl_id,
            "skill_id": self.skill_id,
            "version": self.version,
            "payload_digest": self.payload_digest,
            "status": self.status,
            "verdict": self.verdict.value,
            "code": self.code.value,
            "audit_id": None,
            "publisher": self.publisher,
            "trust": self.trust,
        }


@dataclass(frozen=True, slots=True)
class SkillModule:
    """A module whose bytes were compared with the payload digest when this value was made."""

    skl_id: str
    skill_id: str
    version: str
    payload_digest: str
    module: bytes
    entrypoint: str
    limits: SkillLimits
    output_schema: Mapping[str, object]


def payload_digest(manifest: Mapping[str, object], module_path: str, module: bytes) -> str:
    """Return the digest that names manifest and module together, whatever stores them."""
    manifest_hash = digest(dict(manifest)).removeprefix("sha256:")
    files = [
        {"path": MANIFEST_PATH, "sha256": manifest_hash},
        {"path": module_path, "bytes": len(module), "sha256": hashlib.sha256(module).hexdigest()},
    ]
    return digest({"v": PAYLOAD_FORMAT, "files": files})
