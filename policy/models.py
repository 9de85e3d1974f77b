"""Columns and constraints of policy. `services.py` writes, `selectors.py` reads."""

from __future__ import annotations

from django.conf import settings
from django.db import models
from django.db.models import Q

from identity.models import Workspace
from policy.decision_models import (
    DecisionRecord as DecisionRecord,
    EntitySnapshot as EntitySnapshot,
    ShadowResult as ShadowResult,
    SimulationFlip as SimulationFlip,
    SimulationRun as SimulationRun,
)
from policy.label_models import (
    LabelHolder as LabelHolder,
    SessionLabel as SessionLabel,
    SessionValueMark as SessionValueMark,
)
from policy.lifecycle import SetState
from policy.posture_models import (
    PostureEvent as PostureEvent,
    RecommendationAnswer as RecommendationAnswer,
)
from policy.types import AllowlistKind, PostureState, Risk, ScopeKind


def _choices(
    values: type[AllowlistKind | PostureState | Risk | ScopeKind | SetState],
) -> list[tuple[str, str]]:
    return [(value.value, value.value) for value in values]


class PolicySet(models.Model):
    """One version of the rules of a domain. Its files change only while it is a draft.

    `authors` are all who edited text. `schema_text` and `entities_json` belong to domains other than
    `palyra`. `shadow_cursor` is the last decision record that was replayed against it in shadow.
    """

    id = models.CharField(primary_key=True, max_length=40)
    domain = models.SlugField(max_length=64, default="palyra")
    version = models.PositiveIntegerField()
    state = models.CharField(max_length=16, choices=_choices(SetState), default=SetState.DRAFT)
    title = models.CharField(max_length=120)
    reason = models.CharField(max_length=500, blank=True)
    schema_text = models.TextField(blank=True)
    entities_json = models.TextField(blank=True)
    schema_digest = models.CharField(max_length=71, blank=True)
    hash = models.CharField(max_length=71, null=True)
    edit_version = models.PositiveIntegerField(default=0)
    authors = models.ManyToManyField(settings.AUTH_USER_MODEL, related_name="+")
    parent = models.ForeignKey("self", models.PROTECT, null=True, related_name="+")
    restored_from = models.ForeignKey("self", models.PROTECT, null=True, related_name="+")
    shadow_since = models.DateTimeField(null=True)
    shadow_cursor = models.CharField(max_length=40, blank=True)
    validated_by = models.CharField(max_length=40, blank=True)
    validated_at = models.DateTimeField(null=True)
    activated_by = models.CharField(max_length=40, blank=True)
    activated_at = models.DateTimeField(null=True)
    superseded_at = models.DateTimeField(null=True)
    created_at = models.DateTimeField()

    class Meta:
        constraints = (
            models.UniqueConstraint(fields=("domain", "version"), name="policy_set_version"),
            models.UniqueConstraint(
                fields=("domain",), condition=Q(state=SetState.ACTIVE.value), name="policy_set_one_active"
            ),
            models.CheckConstraint(
                condition=Q(state__in=(SetState.DRAFT.value, SetState.DISCARDED.value))
                | Q(hash__isnull=False),
                name="policy_set_hashed",
            ),
        )

    def __str__(self) -> str:
        return f"{self.domain} v{self.version}"


class PolicyFile(models.Model):
    """One file of a set. Triggers of both databases refuse any change outside a draft."""

    policy_set = models.ForeignKey(PolicySet, models.CASCADE, related_name="files")
    name = models.CharField(max_length=74)
    text = models.TextField()
    position = models.PositiveSmallIntegerField()

    class Meta:
        constraints = (models.UniqueConstraint(fields=("policy_set", "name"), name="policy_file_name"),)

    def __str__(self) -> str:
        return self.name


class PolicyFinding(models.Model):
    """What validation found. Lines and columns count from 1, columns in code points; 0 is the whole file."""

    policy_set = models.ForeignKey(PolicySet, models.CASCADE, related_name="findings")
    severity = models.CharField(max_length=8, choices=[("error", "error"), ("warning", "warning")])
    code = models.CharField(max_length=40)
    file = models.CharField(max_length=74, blank=True)
    line = models.PositiveIntegerField(default=0)
    column = models.PositiveIntegerField(default=0)
    policy_id = models.CharField(max_length=80, blank=True)
    message = models.TextField()

    def __str__(self) -> str:
        return f"{self.file}:{self.line}:{self.column}: {self.code}"


class PolicyEpoch(models.Model):
    """The one row that every decision compares: it moves with each write that can change one.

    `stamp` is random, so that a number given out in a transaction that was rolled back never comes
    to mean two things.
    """

    id = models.PositiveSmallIntegerField(primary_key=True, default=1)
    epoch = models.BigIntegerField(default=0)
    stamp = models.CharField(max_length=32)

    class Meta:
        constraints = (models.CheckConstraint(condition=Q(id=1), name="policy_epoch_single"),)

    def __str__(self) -> str:
        return str(self.epoch)


class Tool(models.Model):
    """A tool of the catalog. What a call is bound to lives in its versions."""

    KINDS = (("builtin", "builtin"), ("custom", "custom"), ("upstream", "upstream"), ("declared", "declared"))

    name = models.CharField(max_length=64, unique=True)
    kind = models.CharField(max_length=16, choices=KINDS)
    description = models.CharField(max_length=2000)
    tier = models.CharField(max_length=8)
    executor = models.CharField(max_length=32)
    capabilities = models.JSONField(default=list)
    default_sensitive = models.BooleanField(default=False)
    risk = models.CharField(max_length=16, choices=_choices(Risk))
    adds_labels = models.JSONField(default=list)
    sinks = models.JSONField(default=list)
    units = models.JSONField(default=list)
    secrets = models.JSONField(default=list)
    egress_hosts = models.JSONField(default=list)
    parallelism = models.CharField(max_length=16, default="exclusive")
    projection = models.CharField(max_length=40, default="inline_unless_large")
    max_input_bytes = models.PositiveIntegerField()
    timeout_ms = models.PositiveIntegerField()
    enabled = models.BooleanField(default=True)
    runtime_supported = models.BooleanField(default=True)
    current_version = models.PositiveIntegerField(default=1)
    edit_version = models.PositiveIntegerField(default=1)

    def __str__(self) -> str:
        return self.name


class ToolVersion(models.Model):
    """What a tool is in one version. Triggers of both databases refuse any change.

    `cedar_fragment` is the record type of its input; `registered_by` who brought it in.
    """

    tool = models.ForeignKey(Tool, models.PROTECT, related_name="versions")
    version = models.PositiveIntegerField()
    input_schema = models.JSONField()
    output_schema = models.JSONField(null=True)
    cedar_fragment = models.TextField(blank=True)
    argv_template = models.JSONField(null=True)
    resource_template = models.CharField(max_length=256, blank=True)
    definition_digest = models.CharField(max_length=71)
    registered_by = models.CharField(max_length=40, blank=True)
    created_at = models.DateTimeField()

    class Meta:
        constraints = (models.UniqueConstraint(fields=("tool", "version"), name="tool_version_unique"),)

    def __str__(self) -> str:
        return f"{self.tool_id} v{self.version}"


class AllowlistEntry(models.Model):
    """One name that a workspace permits."""

    workspace = models.ForeignKey(Workspace, models.PROTECT, related_name="+")
    kind = models.CharField(max_length=24, choices=_choices(AllowlistKind))
    value = models.CharField(max_length=128)

    class Meta:
        constraints = (
            models.UniqueConstraint(fields=("workspace", "kind", "value"), name="allowlist_unique"),
        )

    def __str__(self) -> str:
        return f"{self.kind} {self.value}"


class SensitiveRule(models.Model):
    """A tool, action or capability that a workspace holds to be sensitive besides the defaults."""

    KINDS = (("tool", "tool"), ("action", "action"), ("capability", "capability"))

    workspace = models.ForeignKey(Workspace, models.PROTECT, related_name="+")
    kind = models.CharField(max_length=16, choices=KINDS)
    value = models.CharField(max_length=128)

    class Meta:
        constraints = (
            models.UniqueConstraint(fields=("workspace", "kind", "value"), name="sensitive_rule_unique"),
        )

    def __str__(self) -> str:
        return f"{self.kind} {self.value}"


class ToolCallConfig(models.Model):
    """Limits of tool calls in one workspace. Times in milliseconds, sizes in bytes."""

    workspace = models.OneToOneField(Workspace, models.PROTECT, related_name="+")
    max_calls_per_run = models.PositiveIntegerField(default=32)
    soft_calls_per_run = models.PositiveIntegerField(default=24)
    execution_timeout_ms = models.PositiveIntegerField(default=10_000)
    version = models.PositiveIntegerField(default=1)
    process_runner_enabled = models.BooleanField(default=True)
    process_runner_tier = models.CharField(max_length=1, default="C")
    process_egress_mode = models.CharField(max_length=16, default="strict")
    process_cpu_ms = models.PositiveIntegerField(default=2_000)
    process_memory_bytes = models.PositiveBigIntegerField(default=256 * 1024 * 1024)
    process_output_bytes = models.PositiveIntegerField(default=64 * 1024)
    wasm_enabled = models.BooleanField(default=True)
    wasm_inline_modules = models.BooleanField(default=False)
    wasm_module_bytes = models.PositiveIntegerField(default=256 * 1024)
    wasm_fuel = models.PositiveBigIntegerField(default=10_000_000)
    wasm_memory_bytes = models.PositiveBigIntegerField(default=64 * 1024 * 1024)
    wasm_table_elements = models.PositiveIntegerField(default=100_000)
    wasm_instances = models.PositiveIntegerField(default=256)

    class Meta:
        constraints = (
            models.CheckConstraint(
                condition=Q(max_calls_per_run__gte=1, max_calls_per_run__lte=1000), name="tool_calls_per_run"
            ),
            models.CheckConstraint(
                condition=Q(execution_timeout_ms__gte=100, execution_timeout_ms__lte=600_000),
                name="tool_call_timeout",
            ),
        )

    def __str__(self) -> str:
        return f"limits of {self.workspace_id}"


class PostureOverride(models.Model):
    """A person's word on one tool in one scope. `scope_id` is empty only for global."""

    tool = models.CharField(max_length=64)
    scope_kind = models.CharField(max_length=16, choices=_choices(ScopeKind))
    scope_id = models.CharField(max_length=128, blank=True)
    state = models.CharField(max_length=16, choices=_choices(PostureState))
    overridable = models.BooleanField(default=True)
    reason = models.CharField(max_length=500, blank=True)
    source = models.CharField(max_length=160, default="manual")
    actor = models.CharField(max_length=40)
    created_at = models.DateTimeField()
    expires_at = models.DateTimeField(null=True)
    version = models.PositiveIntegerField(default=1)

    class Meta:
        constraints = (
            models.UniqueConstraint(fields=("tool", "scope_kind", "scope_id"), name="posture_unique"),
            models.CheckConstraint(
                condition=Q(scope_kind="global", scope_id="") | (~Q(scope_kind="global") & ~Q(scope_id="")),
                name="posture_scope_named",
            ),
            models.CheckConstraint(
                condition=Q(state__in=[state.value for state in PostureState]), name="posture_state_known"
            ),
        )

    def __str__(self) -> str:
        return f"{self.tool} {self.state} ({self.scope_kind})"
