"""The request bodies about webhooks and subscriptions. What a value may be is the services' matter."""

from __future__ import annotations

from rest_framework import serializers

from approvals.types import Risk, SubjectType
from governance.api.strict import Body, Flag, Text, Whole
from governance.notifications.addresses import LONGEST_URL
from governance.notifications.subscriptions import MINUTES_A_DAY
from governance.notifications.webhooks import LONGEST_DESCRIPTION, MOST_TYPES


def _types(*, required: bool) -> serializers.ListField:
    return serializers.ListField(
        child=Text(max_length=64), required=required, allow_empty=False, max_length=MOST_TYPES
    )


def _minute() -> Whole:
    return Whole(required=False, allow_null=True, min_value=0, max_value=MINUTES_A_DAY - 1)


class WebhookBody(Body):
    url = Text(max_length=LONGEST_URL)
    event_types = _types(required=True)
    description = Text(required=False, allow_blank=True, max_length=LONGEST_DESCRIPTION)


class WebhookChangeBody(Body):
    url = Text(required=False, max_length=LONGEST_URL)
    event_types = _types(required=False)
    description = Text(required=False, allow_blank=True, max_length=LONGEST_DESCRIPTION)
    enabled = Flag(required=False)


class SubscriptionBody(Body):
    """The whole subscription: what is not given has its default."""

    enabled = Flag()
    minimum_risk = serializers.ChoiceField(required=False, choices=tuple(Risk))
    subject_types = serializers.ListField(
        child=serializers.ChoiceField(choices=tuple(SubjectType)), required=False, max_length=len(SubjectType)
    )
    quiet_from = _minute()
    quiet_to = _minute()
    time_zone = Text(required=False, max_length=64)
