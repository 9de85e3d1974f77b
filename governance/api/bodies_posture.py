"""The request bodies about postures. What a value may be is the services' matter."""

from __future__ import annotations

from rest_framework import serializers

from governance.api.strict import Body, Flag, Moment, Text
from policy.posture import MAX_REASON
from policy.types import PostureState, ScopeKind

SCOPE_ID = 128


class ScopeBody(Body):
    """A scope; `scope_id` is left out for global."""

    scope_kind = serializers.ChoiceField(choices=tuple(kind.value for kind in ScopeKind))
    scope_id = Text(required=False, max_length=SCOPE_ID, allow_blank=True)


class PostureBody(ScopeBody):
    state = serializers.ChoiceField(choices=tuple(state.value for state in PostureState))
    reason = Text(max_length=MAX_REASON)
    expires_at = Moment(required=False, allow_null=True)
    overridable = Flag(required=False)


class PostureResetBody(ScopeBody):
    reason = Text(max_length=MAX_REASON)


class PresetPreviewBody(ScopeBody):
    expires_at = Moment(required=False, allow_null=True)


class PresetApplyBody(ScopeBody):
    reason = Text(max_length=MAX_REASON)
    expires_at = Moment(required=False, allow_null=True)


class UndoBody(Body):
    reason = Text(required=False, max_length=MAX_REASON, allow_blank=True)


class AnswerBody(Body):
    answer = serializers.ChoiceField(choices=("accept", "dismiss", "defer"))
    reason = Text(required=False, max_length=MAX_REASON, allow_blank=True)
