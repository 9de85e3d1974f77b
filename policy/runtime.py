"""What one process knows of catalog and rules: compiled once, compared with the epoch each time."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from dataclasses import dataclass
from threading import Lock

from policy.catalog import catalog_digest, requires_approval
from policy.cedar_types import UnrepresentableError
from policy.compilation import DOMAIN, CompiledSet, SourceFile, compile_set
from policy.lifecycle import SetState
from policy.models import (
    AllowlistEntry,
    PolicyEpoch,
    PolicySet,
    SensitiveRule,
    Tool,
    ToolVersion,
)
from policy.placement import EntityHandles
from policy.schema import build_schema
from policy.set_files import policy_files
from policy.types import (
    AllowlistKind,
    PolicyEvaluationConfig,
    PolicySetRef,
    SecretSlot,
    ToolFacts,
    UnitRule,
)

logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Engine:
    """A compiled set with its entity handles. Both depend on nothing but their content."""

    compiled: CompiledSet
    handles: EntityHandles


@dataclass(frozen=True, slots=True)
class Runtime:
    """The catalog and the engine at one epoch. `engine` is None when no set can be used."""

    stamp: str
    tools: Mapping[str, ToolFacts]
    engine: Engine | None
    configs: dict[str, PolicyEvaluationConfig]


_lock = Lock()
_held: list[Runtime] = []
_engines: dict[tuple[str, str, str], Engine | None] = {}
_ENGINES_KEPT = 4


class EpochMissingError(Exception):
    """The epoch row does not exist: the installation has no policy."""


def current() -> Runtime:
    """Return the runtime of the epoch that the database shows now.

    Raises EpochMissingError before installation and lets database errors through; a set that does
    not compile leaves `engine` None and so keeps denying, whatever was in force before.
    """
    stamp = epoch_stamp()
    for known in tuple(_held):
        if known.stamp == stamp:
            return known
    loaded = _load(stamp)
    _held[:] = [loaded]
    return loaded


def config_for(runtime: Runtime, workspace_id: str) -> PolicyEvaluationConfig:
    """Return allowlists and sensitive names of a workspace, read once per epoch."""
    known = runtime.configs.get(workspace_id)
    if known is None:
        known = runtime.configs[workspace_id] = _load_config(workspace_id)
    return known


def facts_of(tool: Tool, version: ToolVersion) -> ToolFacts:
    """Return a stored tool as a plain value."""
    capabilities = frozenset(tool.capabilities)
    return ToolFacts(
        name=tool.name,
        kind=tool.kind,
        version=version.version,
        definition_digest=version.definition_digest,
        description=tool.description,
        tier=tool.tier,
        executor=tool.executor,
        capabilities=capabilities,
        sensitive=tool.default_sensitive,
        risk=tool.risk,
        adds_labels=frozenset(tool.adds_labels),
        sinks=frozenset(tool.sinks),
        argv_template=None if version.argv_template is None else tuple(version.argv_template),
        input_schema=version.input_schema,
        max_input_bytes=tool.max_input_bytes,
        timeout_ms=tool.timeout_ms,
        requires_approval=requires_approval(tool.default_sensitive, capabilities),
        enabled=tool.enabled,
        runtime_supported=tool.runtime_supported,
        resource_template=version.resource_template,
        units=tuple(UnitRule(**rule) for rule in tool.units),
        secrets=tuple(SecretSlot(slot["slot"], tuple(slot["deliveries"])) for slot in tool.secrets),
        egress_hosts=tuple(tool.egress_hosts),
        parallelism=tool.parallelism,
        projection=tool.projection,
        output_schema=version.output_schema,
        edit_version=tool.edit_version,
    )


def load_tools() -> dict[str, ToolFacts]:
    """Return the catalog in its current versions, by name."""
    versions = ToolVersion.objects.select_related("tool").order_by("tool__name")
    return {
        row.tool.name: facts_of(row.tool, row) for row in versions if row.version == row.tool.current_version
    }


def candidate_engine(policy_set: PolicySet, tools: Mapping[str, ToolFacts]) -> Engine | None:
    """Return the engine a set would decide with, or None when it does not compile.

    Only for a set with a hash: its files never change, so the engine is kept as that of the set in force.
    """
    return _engine(policy_set, tools)


def active_files() -> tuple[PolicySetRef, list[SourceFile]]:
    """Return the reference and the files of the set in force; empty when there is none."""
    active = PolicySet.objects.filter(domain=DOMAIN, state=SetState.ACTIVE).first()
    if active is None:
        return PolicySetRef(), []
    return _reference(active), _files(active)


def _reference(active: PolicySet) -> PolicySetRef:
    return PolicySetRef(active.pk, active.version, active.hash or "")


def _files(active: PolicySet) -> list[SourceFile]:
    """Return the rules of a set; the tests it brings along are no rules."""
    rows = active.files.order_by("position")
    return list(policy_files([SourceFile(row.name, row.text) for row in rows]))


def epoch_stamp() -> str:
    """Return what the epoch row says now, or raise EpochMissingError."""
    row = PolicyEpoch.objects.filter(pk=1).values_list("epoch", "stamp").first()
    if row is None:
        raise EpochMissingError
    return f"{row[0]}:{row[1]}"


def _load(stamp: str) -> Runtime:
    tools = load_tools()
    active = PolicySet.objects.filter(domain=DOMAIN, state=SetState.ACTIVE).first()
    engine = None if active is None else _engine(active, tools)
    return Runtime(stamp=stamp, tools=tools, engine=engine, configs={})


def _engine(active: PolicySet, tools: Mapping[str, ToolFacts]) -> Engine | None:
    """Return the engine of this set and catalog; compiled under a lock, failures remembered."""
    key = (active.pk, active.hash or "", catalog_digest(tools.values()))
    with _lock:
        if key not in _engines:
            while len(_engines) >= _ENGINES_KEPT:
                _engines.pop(next(iter(_engines)))
            _engines[key] = _compile(active, tools, key[2])
        return _engines[key]


def _compile(active: PolicySet, tools: Mapping[str, ToolFacts], digest: str) -> Engine | None:
    try:
        schema = build_schema({name: tool.input_schema for name, tool in tools.items()})
        compiled = compile_set(_files(active), schema, ref=_reference(active), catalog_digest=digest)
    except (UnrepresentableError, ValueError):
        logger.exception("policy set %s cannot be compiled", active.pk)
        return None
    if isinstance(compiled, tuple):
        for finding in compiled:
            logger.error("policy set %s, %s: %s", active.pk, finding.policy_id, finding.message)
        return None
    return Engine(compiled, EntityHandles(compiled.schema_handle))


def _load_config(workspace_id: str) -> PolicyEvaluationConfig:
    default = PolicyEvaluationConfig()
    listed: dict[str, set[str]] = {kind.value: set() for kind in AllowlistKind}
    entries = AllowlistEntry.objects.filter(workspace_id=workspace_id)
    for kind, value in entries.values_list("kind", "value"):
        listed.setdefault(kind, set()).add(value)
    sensitive: dict[str, set[str]] = {"tool": set(), "action": set(), "capability": set()}
    rules = SensitiveRule.objects.filter(workspace_id=workspace_id)
    for kind, value in rules.values_list("kind", "value"):
        sensitive.setdefault(kind, set()).add(value)
    return PolicyEvaluationConfig(
        allowlisted_tools=frozenset(listed[AllowlistKind.TOOL]),
        allowlisted_skills=frozenset(listed[AllowlistKind.SKILL]),
        sensitive_tool_names=frozenset(sensitive["tool"]),
        sensitive_actions=default.sensitive_actions | sensitive["action"],
        sensitive_capability_names=default.sensitive_capability_names | sensitive["capability"],
        tool_execute_principal_allowlist=frozenset(listed[AllowlistKind.PRINCIPAL]),
        tool_execute_channel_allowlist=frozenset(listed[AllowlistKind.CHANNEL]),
    )
