"""The routes about people, workspaces and agents."""

from __future__ import annotations

from django.urls import path

from governance.api import views_agents, views_people, views_sharing, views_workspaces

_PLACE = "workspaces/<str:workspace_id>"

urlpatterns = [
    path("users", views_people.Users.as_view()),
    path("users/<str:user_id>", views_people.UserDetail.as_view()),
    path("users/<str:user_id>/disable", views_people.UserDisable.as_view()),
    path("users/<str:user_id>/enable", views_people.UserEnable.as_view()),
    path("users/<str:user_id>/reset-factor", views_people.UserResetFactor.as_view()),
    path("agents", views_agents.Agents.as_view()),
    path("agents/<str:agent_id>", views_agents.AgentDetail.as_view()),
    path("agents/<str:agent_id>/suspend", views_agents.AgentSuspend.as_view()),
    path("agents/<str:agent_id>/resume", views_agents.AgentResume.as_view()),
    path("agents/<str:agent_id>/archive", views_agents.AgentArchive.as_view()),
    path("workspaces", views_workspaces.Workspaces.as_view()),
    path(_PLACE, views_workspaces.WorkspaceDetail.as_view()),
    path(f"{_PLACE}/archive", views_workspaces.WorkspaceArchive.as_view()),
    path(f"{_PLACE}/memberships", views_workspaces.Memberships.as_view()),
    path(f"{_PLACE}/memberships/<str:membership_id>", views_workspaces.MembershipDetail.as_view()),
    path(f"{_PLACE}/teams", views_workspaces.Teams.as_view()),
    path(f"{_PLACE}/teams/<str:team_id>/members", views_workspaces.TeamMembers.as_view()),
    path(f"{_PLACE}/teams/<str:team_id>/members/<str:user_id>", views_workspaces.TeamMemberDetail.as_view()),
    path(f"{_PLACE}/invitations", views_sharing.Invitations.as_view()),
    path(f"{_PLACE}/invitations/<str:invitation_id>", views_sharing.InvitationDetail.as_view()),
    path("invitations/accept", views_sharing.InvitationAccept.as_view()),
    path(f"{_PLACE}/shares", views_sharing.Shares.as_view()),
    path(f"{_PLACE}/shares/<str:share_id>", views_sharing.ShareDetail.as_view()),
]
