"""Shapes of answers about tools, limits and lists, for the OpenAPI document only."""

from __future__ import annotations

from rest_framework import serializers

from governance.api.schemas import Tool, _List, _Shape


class ToolVersionRow(_Shape):
    version = serializers.IntegerField()
    definition_digest = serializers.CharField()
    registered_by = serializers.CharField(allow_blank=True)
    created_at = serializers.DateTimeField()


class TierState(_Shape):
    available = serializers.BooleanField()
    reason_code = serializers.CharField(allow_null=True)
    reason = serializers.CharField(allow_null=True)


class ToolDetail(Tool):
    input_schema = serializers.DictField()
    definition = serializers.DictField(allow_null=True)
    cedar_fragment = serializers.CharField(allow_null=True, allow_blank=True)
    allowlisted = serializers.BooleanField()
    posture_chain = serializers.DictField()
    tier_state = TierState()
    versions = ToolVersionRow(many=True)
    edit_version = serializers.IntegerField()


class CallableTool(Tool):
    input_schema = serializers.DictField()


class FilteredTool(_Shape):
    name = serializers.CharField()
    reason_code = serializers.CharField()
    reason = serializers.CharField(allow_blank=True)
    repair = serializers.CharField()


class ToolCatalog(_Shape):
    object = serializers.CharField()
    data = CallableTool(many=True)  # type: ignore[assignment]  # `data` is the wire's name
    filtered = FilteredTool(many=True)
    catalog_digest = serializers.CharField()


class ToolCallConfig(_Shape):
    id = serializers.CharField()
    object = serializers.CharField()
    workspace_id = serializers.CharField()
    allowed_tools = serializers.ListField(child=serializers.CharField())
    max_calls_per_run = serializers.IntegerField()
    soft_calls_per_run = serializers.IntegerField()
    execution_timeout_ms = serializers.IntegerField()
    process_runner_enabled = serializers.BooleanField()
    process_runner_tier = serializers.CharField()
    process_egress_mode = serializers.CharField()
    process_cpu_ms = serializers.IntegerField()
    process_memory_bytes = serializers.IntegerField()
    process_output_bytes = serializers.IntegerField()
    wasm_enabled = serializers.BooleanField()
    wasm_inline_modules = serializers.BooleanField()
    wasm_module_bytes = serializers.IntegerField()
    wasm_fuel = serializers.IntegerField()
    wasm_memory_bytes = serializers.IntegerField()
    wasm_table_elements = serializers.IntegerField()
    wasm_instances = serializers.IntegerField()
    version = serializers.IntegerField()


class Listed(_Shape):
    id = serializers.CharField()
    object = serializers.CharField()
    workspace_id = serializers.CharField()
    kind = serializers.CharField()
    value = serializers.CharField()


class AllowlistEntry(Listed):
    pass


class AllowlistEntryList(_List):
    data = AllowlistEntry(many=True)  # type: ignore[assignment]  # `data` is the wire's name


class SensitiveRule(Listed):
    pass


class SensitiveRuleList(_List):
    data = SensitiveRule(many=True)  # type: ignore[assignment]  # `data` is the wire's name
