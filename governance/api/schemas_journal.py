"""Shapes of the journal's answers, for the OpenAPI document only."""

from __future__ import annotations

from rest_framework import serializers

from governance.api.schemas import _List, _Shape


class SignedTree(_Shape):
    tree_size = serializers.IntegerField()
    root = serializers.CharField()  # type: ignore[assignment]  # `root` is the wire's name


class JournalEvent(_Shape):
    object = serializers.CharField()
    id = serializers.CharField()
    seq = serializers.IntegerField(allow_null=True)
    type = serializers.CharField(allow_null=True)
    time = serializers.DateTimeField(allow_null=True)
    actor = serializers.CharField(allow_null=True)
    subject = serializers.CharField(allow_null=True)
    run_id = serializers.CharField(allow_null=True)
    call_id = serializers.CharField(allow_null=True)
    envelope = serializers.DictField(allow_null=True)
    data = serializers.DictField(allow_null=True)  # type: ignore[assignment]  # `data` is the wire's name
    withheld = serializers.CharField(allow_null=True)
    leaf_hash = serializers.CharField(allow_null=True)
    checkpoint = SignedTree(allow_null=True)
    erased = serializers.BooleanField()


class JournalEventList(_List):
    data = JournalEvent(many=True)  # type: ignore[assignment]  # `data` is the wire's name


_ENDS = {"from": serializers.IntegerField(), "to": serializers.IntegerField()}


class _Consistency(_Shape):
    object = serializers.CharField()
    from_root = serializers.CharField()
    to_root = serializers.CharField()
    hashes = serializers.ListField(child=serializers.CharField())


JournalConsistency = type("JournalConsistency", (_Consistency,), _ENDS)
"""`from` is a word of Python."""


class Checkpoint(SignedTree):
    object = serializers.CharField()
    key_id = serializers.CharField()
    sealed_at = serializers.DateTimeField()
    note = serializers.CharField()
    witnesses = serializers.ListField(child=serializers.CharField())


class CheckpointList(_List):
    data = Checkpoint(many=True)  # type: ignore[assignment]  # `data` is the wire's name
