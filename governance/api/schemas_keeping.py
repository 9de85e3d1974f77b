"""Shapes of answers about keys, witnesses, holds and archives, for the OpenAPI document only."""

from __future__ import annotations

from typing import Any

from rest_framework import serializers


class JournalKey(serializers.Serializer[Any]):
    """`public_key` is the raw key in base64; `verifier_key` is its C2SP form, for keys of checkpoints."""

    id = serializers.CharField()
    object = serializers.CharField()
    purpose = serializers.CharField()
    public_key = serializers.CharField()
    verifier_key = serializers.CharField(allow_null=True)
    not_before = serializers.DateTimeField()
    retired_at = serializers.DateTimeField(allow_null=True)
    revoked_at = serializers.DateTimeField(allow_null=True)
    rotation_event = serializers.CharField()


class JournalKeyList(serializers.Serializer[Any]):
    object = serializers.CharField()
    data = JournalKey(many=True)  # type: ignore[assignment]  # `data` is the wire's name
    has_more = serializers.BooleanField()
    next_cursor = serializers.CharField(allow_null=True)


class Cosignature(serializers.Serializer[Any]):
    object = serializers.CharField()
    tree_size = serializers.IntegerField()
    witness = serializers.CharField()
    line = serializers.CharField()


class LegalHold(serializers.Serializer[Any]):
    id = serializers.CharField()
    object = serializers.CharField()
    state = serializers.CharField()
    subject = serializers.CharField(allow_null=True)
    since = serializers.DateTimeField(allow_null=True)
    until = serializers.DateTimeField(allow_null=True)
    reason = serializers.CharField()
    set_by = serializers.CharField()
    set_at = serializers.DateTimeField()
    lifted_by = serializers.CharField(allow_null=True)
    lifted_at = serializers.DateTimeField(allow_null=True)


class LegalHoldList(serializers.Serializer[Any]):
    object = serializers.CharField()
    data = LegalHold(many=True)  # type: ignore[assignment]  # as above
    has_more = serializers.BooleanField()
    next_cursor = serializers.CharField(allow_null=True)


class JournalArchive(serializers.Serializer[Any]):
    """The events `first_seq` to before `end_seq`. `state` is removing, removed or restored."""

    id = serializers.CharField()
    object = serializers.CharField()
    state = serializers.CharField()
    first_seq = serializers.IntegerField()
    end_seq = serializers.IntegerField()
    file = serializers.CharField()
    sha256 = serializers.CharField()
    bytes = serializers.IntegerField()
    verified_at = serializers.DateTimeField(allow_null=True)
    removed_at = serializers.DateTimeField(allow_null=True)
    restored_at = serializers.DateTimeField(allow_null=True)
    event = serializers.CharField()


class JournalArchiveList(serializers.Serializer[Any]):
    object = serializers.CharField()
    data = JournalArchive(many=True)  # type: ignore[assignment]  # as above
    has_more = serializers.BooleanField()
    next_cursor = serializers.CharField(allow_null=True)
