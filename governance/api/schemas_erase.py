"""What is answered to somebody who wants something erased."""

from __future__ import annotations

from rest_framework import serializers


class ErasureAsked(serializers.Serializer[object]):
    """The request that a second person answers; nothing is erased before."""

    approval = serializers.CharField()
