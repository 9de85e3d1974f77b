"""The request bodies about freezes."""

from __future__ import annotations

from rest_framework import serializers

from governance.api.strict import Body, Flag, Text
from governance.freeze_scopes import LONGEST_REASON, SHORTEST_REASON, FreezeScope


class FreezeBody(Body):
    scope = serializers.ChoiceField(choices=tuple(FreezeScope))
    scope_id = Text(required=False, max_length=160)
    reason = Text(min_length=SHORTEST_REASON, max_length=LONGEST_REASON)
    kill_running = Flag(required=False)
    otp = Text(required=False, max_length=16)


class FreezeLiftBody(Body):
    reason = Text(required=False, max_length=LONGEST_REASON, allow_blank=True)
    otp = Text(required=False, max_length=16)
