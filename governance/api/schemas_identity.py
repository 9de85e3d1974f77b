"""Shapes of answers about people, workspaces and agents, for the OpenAPI document only."""

from __future__ import annotations

from typing import Any

from rest_framework import serializers


class _Shape(serializers.Serializer[Any]):
    """An answer; all members are always present."""


class _List(_Shape):
    object = serializers.CharField()
    has_more = serializers.BooleanField()
    next_cursor = serializers.CharField(allow_null=True)


class User(_Shape):
    id = serializers.CharField()
    object = serializers.CharField()
    username = serializers.CharField()
    display_name = serializers.CharField(allow_blank=True)
    email = serializers.CharField(allow_blank=True)
    state = serializers.CharField()
    has_factor = serializers.BooleanField()
    version = serializers.IntegerField()
    created_at = serializers.DateTimeField()


class UserList(_List):
    data = User(many=True)  # type: ignore[assignment]  # `data` is the wire's name


class UserWithLink(User):
    setup_link = serializers.CharField(allow_null=True)
    secret_withheld = serializers.BooleanField()


class Agent(_Shape):
    id = serializers.CharField()
    object = serializers.CharField()
    workspace_id = serializers.CharField()
    name = serializers.CharField()
    purpose = serializers.CharField(allow_blank=True)
    owner = serializers.CharField()
    limits = serializers.DictField(child=serializers.IntegerField())
    state = serializers.CharField()
    version = serializers.IntegerField()
    created_at = serializers.DateTimeField()


class AgentList(_List):
    data = Agent(many=True)  # type: ignore[assignment]  # `data` is the wire's name


class Workspace(_Shape):
    id = serializers.CharField()
    object = serializers.CharField()
    slug = serializers.CharField()
    name = serializers.CharField()
    built_in = serializers.BooleanField()
    created_at = serializers.DateTimeField()
    archived_at = serializers.DateTimeField(allow_null=True)


class WorkspaceList(_List):
    data = Workspace(many=True)  # type: ignore[assignment]  # `data` is the wire's name


class Membership(_Shape):
    id = serializers.CharField()
    object = serializers.CharField()
    workspace_id = serializers.CharField()
    user = serializers.DictField(allow_null=True)
    team = serializers.DictField(allow_null=True)
    role = serializers.CharField()
    state = serializers.CharField()
    granted_by = serializers.CharField()
    granted_at = serializers.DateTimeField()
    expires_at = serializers.DateTimeField(allow_null=True)


class MembershipList(_List):
    data = Membership(many=True)  # type: ignore[assignment]  # `data` is the wire's name


class Invitation(_Shape):
    id = serializers.CharField()
    object = serializers.CharField()
    workspace_id = serializers.CharField()
    email = serializers.CharField()
    role = serializers.CharField()
    state = serializers.CharField()
    invited_by = serializers.CharField()
    created_at = serializers.DateTimeField()
    expires_at = serializers.DateTimeField()
    accepted_by = serializers.CharField(allow_null=True)


class InvitationList(_List):
    data = Invitation(many=True)  # type: ignore[assignment]  # `data` is the wire's name


class InvitationWithToken(Invitation):
    token = serializers.CharField(allow_null=True)
    secret_withheld = serializers.BooleanField()


class Share(_Shape):
    id = serializers.CharField()
    object = serializers.CharField()
    resource_kind = serializers.CharField()
    resource_id = serializers.CharField()
    home_workspace_id = serializers.CharField()
    workspace_id = serializers.CharField()
    access = serializers.CharField()
    shared_by = serializers.CharField()
    created_at = serializers.DateTimeField()


class ShareList(_List):
    data = Share(many=True)  # type: ignore[assignment]  # `data` is the wire's name


class Team(_Shape):
    id = serializers.CharField()
    object = serializers.CharField()
    workspace_id = serializers.CharField()
    name = serializers.CharField()
    members = serializers.ListField(child=serializers.CharField())
    created_at = serializers.DateTimeField()


class TeamList(_List):
    data = Team(many=True)  # type: ignore[assignment]  # `data` is the wire's name
