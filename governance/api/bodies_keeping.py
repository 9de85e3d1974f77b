"""The request bodies of keys, witnesses, holds and archives of the journal."""

from __future__ import annotations

from rest_framework import serializers

from governance.api.strict import Body, Flag, Moment, Text
from governance.journal.witnesses import LONGEST_LINE
from governance.operations.journal_keeping import LONGEST_REASON, SHORTEST_REASON
from vault.types import KeyPurpose


class _Proved(Body):
    otp = Text(required=False, max_length=16)


class RotateKeyBody(_Proved):
    purpose = serializers.ChoiceField(choices=[one.value for one in KeyPurpose], required=False)


class RevokeKeyBody(_Proved):
    since = Moment(required=False)


class CosignatureBody(Body):
    """One line of a signed note: `— <witness> <base64>`."""

    line = Text(max_length=LONGEST_LINE)


class HoldBody(_Proved):
    """A subject is an `agt_…`, `usr_…`, `run_…` or `call_…` id. The reason should name nobody."""

    subject = Text(required=False, max_length=40)
    since = Moment(required=False)
    until = Moment(required=False)
    reason = Text(min_length=SHORTEST_REASON, max_length=LONGEST_REASON)


class ProvedBody(_Proved):
    """Nothing but the code."""


class ArchiveBody(_Proved):
    before = Moment(required=False)
    restored = Flag(required=False)
