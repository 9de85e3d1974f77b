"""The request bodies about people, workspaces and agents. What a value may be is the services' matter."""

from __future__ import annotations

from rest_framework import serializers

from governance.api.strict import Body, Moment, Text, Whole
from identity.agent_limits import MOST
from identity.invitations import LONGEST_DAYS
from identity.roles import WorkspaceRole
from identity.shares import ACCESSES, KINDS

ID = 40


class UserBody(Body):
    username = Text(max_length=150)
    email = Text(max_length=254)
    display_name = Text(required=False, max_length=120, allow_blank=True)


class UserChangeBody(Body):
    email = Text(required=False, max_length=254, allow_blank=True)
    display_name = Text(required=False, max_length=120, allow_blank=True)


class ReasonBody(Body):
    reason = Text(max_length=500)


class AgentBody(Body):
    name = Text(max_length=80)
    owner = Text(required=False, max_length=ID)
    purpose = Text(required=False, max_length=500, allow_blank=True)


class AgentChangeBody(Body):
    name = Text(required=False, max_length=80)
    owner = Text(required=False, max_length=ID)
    purpose = Text(required=False, max_length=500, allow_blank=True)
    limits = serializers.DictField(required=False, child=Whole(min_value=1, max_value=MOST))


class WorkspaceBody(Body):
    slug = Text(max_length=64)
    name = Text(max_length=120)


class EmptyBody(Body):
    """A verb that needs no more than its address."""


class MembershipBody(Body):
    user = Text(required=False, max_length=ID)
    team = Text(required=False, max_length=ID)
    role = serializers.ChoiceField(choices=tuple(WorkspaceRole))
    expires_at = Moment(required=False, allow_null=True)


class InvitationBody(Body):
    email = Text(max_length=254)
    role = serializers.ChoiceField(choices=tuple(WorkspaceRole))
    expires_in_days = Whole(required=False, min_value=1, max_value=LONGEST_DAYS)


class AcceptBody(Body):
    token = Text(max_length=100)


class ShareBody(Body):
    resource_kind = serializers.ChoiceField(choices=KINDS)
    resource_id = Text(max_length=160)
    access = serializers.ChoiceField(choices=ACCESSES)


class TeamBody(Body):
    name = Text(max_length=80)


class TeamMemberBody(Body):
    user = Text(max_length=ID)
