"""Verbs on workspaces, as their pages post them."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from django.http import HttpResponse
from django.shortcuts import redirect
from django.urls import reverse

from governance.admin.access import Visit
from governance.admin.once import Told
from governance.admin.pages import page
from governance.admin.people_verbs import end_of_day, role_named
from governance.admin.reveal import Secret, reveal
from governance.admin.verbs import Answered, do, notify, number, text, verb
from governance.admin.workspaces import new, shown
from governance.idempotency import Ticket
from governance.operations import workspaces as operations
from governance.operations.workspaces import create as create_workspace
from identity.models import Workspace
from identity.reach import require_workspace
from identity.roles import Permission

READ = Permission.WORKSPACE_READ
MEMBERSHIPS = Permission.WORKSPACE_MEMBERSHIPS_MANAGE
INVITATIONS = Permission.INVITATIONS_MANAGE
SHARING = Permission.WORKSPACE_SHARING_MANAGE
INVITED = "The invitation's text was shown once and is not shown again. Withdraw it and invite anew."
DEFAULT_INVITATION_DAYS = 7
Work = Callable[[Visit, Ticket], Told]


@page(READ)
def create(visit: Visit) -> HttpResponse:
    """Show the form of a new workspace; a POST creates it with the visitor as its first owner."""
    if visit.request.method != "POST":
        return new(visit, None)
    fields = {name: text(visit, name) for name in ("slug", "name")}
    done = "The workspace is there, and you own it."

    def work(stepped: Visit, ticket: Ticket) -> Told:
        made = create_workspace(
            principal=stepped.principal,
            **fields,
            now=stepped.now,
            ticket=ticket,
            render=lambda workspace: {"sentence": done},
        )
        return Told(done, object_id=made.pk)

    told = do(visit, route="workspaces/create", subject=visit.user.pk, fields=fields, work=work)
    if not told.is_done or told.object_id is None:
        return new(visit, Answered("create", told))
    notify(visit, told)
    return redirect("admin:workspace", workspace_id=told.object_id)


def _post(
    visit: Visit, place: Workspace, name: str, fields: Mapping[str, str], work: Work
) -> tuple[Told, HttpResponse]:
    """Do a verb in a workspace; answer with the way back, or with its page and the form open."""
    told = do(visit, route=f"workspaces/{place.pk}/{name}", subject=place.pk, fields=fields, work=work)
    if not told.is_done:
        return told, shown(visit, place.pk, Answered(name, told))
    if not told.secret:
        notify(visit, told)
    return told, redirect("admin:workspace", workspace_id=place.pk)


@verb(Permission.WORKSPACE_MANAGE, sees=READ)
def archive(visit: Visit, workspace_id: str) -> HttpResponse:
    """Put a workspace out of use for good."""
    place = require_workspace(visit.principal, workspace_id)
    done = f"The workspace {place.slug} is archived."

    def work(stepped: Visit, ticket: Ticket) -> Told:
        operations.archive(
            principal=stepped.principal,
            workspace_id=place.pk,
            now=stepped.now,
            ticket=ticket,
            render=lambda workspace: {"sentence": done},
        )
        return Told(done)

    told, answer = _post(visit, place, "archive", {}, work)
    return redirect("admin:workspaces") if told.is_done else answer


@verb(MEMBERSHIPS, sees=READ)
def grant(visit: Visit, workspace_id: str) -> HttpResponse:
    """Give a person or a team one more role here."""
    place = require_workspace(visit.principal, workspace_id)
    fields = {name: text(visit, name) for name in ("holder", "role", "until")}
    holder = fields["holder"]

    def work(stepped: Visit, ticket: Ticket) -> Told:
        role = role_named(fields["role"])
        done = f"The role {role} was given."
        operations.grant(
            principal=stepped.principal,
            workspace_id=place.pk,
            user_id=None if holder.startswith("tm_") else holder,
            team_id=holder if holder.startswith("tm_") else None,
            role=role,
            expires_at=end_of_day(fields["until"]),
            now=stepped.now,
            ticket=ticket,
            render=lambda made: {"sentence": done},
        )
        return Told(done)

    return _post(visit, place, "grant", fields, work)[1]


@verb(MEMBERSHIPS, sees=READ)
def remove(visit: Visit, workspace_id: str) -> HttpResponse:
    """Take a role of this workspace away."""
    place = require_workspace(visit.principal, workspace_id)
    wanted = text(visit, "membership")

    def work(stepped: Visit, _: Ticket) -> Told:
        operations.remove(
            principal=stepped.principal, workspace_id=place.pk, membership_id=wanted, now=stepped.now
        )
        return Told("The role was taken away.")

    return _post(visit, place, "remove", {"membership": wanted}, work)[1]


@verb(INVITATIONS, sees=READ)
def invite(visit: Visit, workspace_id: str) -> HttpResponse:
    """Offer a role to somebody and reveal the text that takes it up."""
    place = require_workspace(visit.principal, workspace_id)
    fields = {name: text(visit, name) for name in ("email", "role", "days")}

    def work(stepped: Visit, ticket: Ticket) -> Told:
        invited = operations.invite(
            principal=stepped.principal,
            workspace_id=place.pk,
            email=fields["email"],
            role=role_named(fields["role"]),
            expires_in_days=number(stepped, "days", "/expires_in_days", DEFAULT_INVITATION_DAYS),
            now=stepped.now,
            ticket=ticket,
            render=lambda made: {"sentence": INVITED},
        )
        return Told(INVITED, object_id=invited.invitation.pk, secret=invited.text)

    told, answer = _post(visit, place, "invite", fields, work)
    return _reveal(visit, place, told) if told.secret else answer


def _reveal(visit: Visit, place: Workspace, told: Told) -> HttpResponse:
    return reveal(
        visit,
        Secret(
            title="Hand this text over now",
            lead="Whoever signs in and enters it takes the offered role once: palyra workspaces accept. "
            "It is shown this once; only a digest of it is kept.",
            text=told.secret,
            label=f"Invitation to {place.name}",
            back=reverse("admin:workspace", kwargs={"workspace_id": place.pk}),
            back_word="I have handed it over",
        ),
    )


@verb(INVITATIONS, sees=READ)
def withdraw(visit: Visit, workspace_id: str) -> HttpResponse:
    """Withdraw an invitation."""
    place = require_workspace(visit.principal, workspace_id)
    wanted = text(visit, "invitation")

    def work(stepped: Visit, _: Ticket) -> Told:
        operations.revoke_invitation(
            principal=stepped.principal, workspace_id=place.pk, invitation_id=wanted, now=stepped.now
        )
        return Told("The invitation was withdrawn.")

    return _post(visit, place, "withdraw", {"invitation": wanted}, work)[1]


@verb(MEMBERSHIPS, sees=READ)
def create_team(visit: Visit, workspace_id: str) -> HttpResponse:
    """Create an empty team."""
    place, name = require_workspace(visit.principal, workspace_id), text(visit, "name")
    done = "The team is there. It has no role yet."

    def work(stepped: Visit, ticket: Ticket) -> Told:
        operations.create_team(
            principal=stepped.principal,
            workspace_id=place.pk,
            name=name,
            now=stepped.now,
            ticket=ticket,
            render=lambda team: {"sentence": done},
        )
        return Told(done)

    return _post(visit, place, "team", {"name": name}, work)[1]


@verb(MEMBERSHIPS, sees=READ)
def join(visit: Visit, workspace_id: str) -> HttpResponse:
    """Put a person into a team."""
    place = require_workspace(visit.principal, workspace_id)
    fields = {name: text(visit, name) for name in ("team", "user")}
    done = "They are in the team and hold its roles."

    def work(stepped: Visit, ticket: Ticket) -> Told:
        operations.add_team_member(
            principal=stepped.principal,
            workspace_id=place.pk,
            team_id=fields["team"],
            user_id=fields["user"],
            now=stepped.now,
            ticket=ticket,
            render=lambda team: {"sentence": done},
        )
        return Told(done)

    return _post(visit, place, "join", fields, work)[1]


@verb(MEMBERSHIPS, sees=READ)
def leave(visit: Visit, workspace_id: str) -> HttpResponse:
    """Take a person out of a team."""
    place, wanted = require_workspace(visit.principal, workspace_id), text(visit, "member")
    team_id, _, user_id = wanted.partition(":")

    def work(stepped: Visit, _: Ticket) -> Told:
        operations.remove_team_member(
            principal=stepped.principal,
            workspace_id=place.pk,
            team_id=team_id,
            user_id=user_id,
            now=stepped.now,
        )
        return Told("They are out of the team.")

    return _post(visit, place, "leave", {"member": wanted}, work)[1]


@verb(SHARING, sees=READ)
def share(visit: Visit, workspace_id: str) -> HttpResponse:
    """Open an object of this workspace to another one."""
    place = require_workspace(visit.principal, workspace_id)
    fields = {name: text(visit, name) for name in ("kind", "resource", "target", "access")}
    done = "It is shared."

    def work(stepped: Visit, ticket: Ticket) -> Told:
        operations.share(
            principal=stepped.principal,
            workspace_id=fields["target"],
            resource_kind=fields["kind"],
            resource_id=fields["resource"],
            access=fields["access"],
            now=stepped.now,
            ticket=ticket,
            render=lambda made: {"sentence": done},
        )
        return Told(done)

    return _post(visit, place, "share", fields, work)[1]


@verb(SHARING, sees=READ)
def unshare(visit: Visit, workspace_id: str) -> HttpResponse:
    """Close a share, given or received."""
    place, wanted = require_workspace(visit.principal, workspace_id), text(visit, "share")

    def work(stepped: Visit, _: Ticket) -> Told:
        operations.unshare(
            principal=stepped.principal, workspace_id=place.pk, share_id=wanted, now=stepped.now
        )
        return Told("It is no longer shared.")

    return _post(visit, place, "unshare", {"share": wanted}, work)[1]
