"""Verbs on people, as their pages post them."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from datetime import UTC, date, datetime, time, timedelta

from django.conf import settings
from django.http import HttpResponse
from django.shortcuts import redirect
from django.urls import reverse

from governance.admin.access import Visit
from governance.admin.layout import show
from governance.admin.once import Told
from governance.admin.pages import page
from governance.admin.people import shown
from governance.admin.people_rows import require_person, roles_by_person
from governance.admin.reveal import Secret, reveal
from governance.admin.verbs import Answered, do, form_of, notify, offer, reasoned, seen_version, text, verb
from governance.idempotency import Ticket
from governance.operations import people as operations
from governance.operations.people import CreatedUser, create as create_person
from governance.operations.workspaces import grant as grant_role, remove as remove_role
from identity.inserting import invalid
from identity.models import User
from identity.roles import Permission, WorkspaceRole
from kernel.errors import NotFoundError

READ, MANAGE = Permission.WORKSPACE_READ, Permission.USERS_MANAGE
MEMBERSHIPS = Permission.WORKSPACE_MEMBERSHIPS_MANAGE
LINK_SHOWN = "The setup link was shown once and is not shown again. A reset makes another."
Work = Callable[[Visit, Ticket], Told]


@page(READ)
def create(visit: Visit) -> HttpResponse:
    """Show the form of a new person; a POST creates them and reveals their setup link."""
    if visit.request.method != "POST":
        return _new(visit, None)
    fields = {name: text(visit, name) for name in ("username", "display_name", "email")}

    def work(stepped: Visit, ticket: Ticket) -> Told:
        made = create_person(
            principal=stepped.principal,
            **fields,
            now=stepped.now,
            ticket=ticket,
            render=lambda made: {"sentence": LINK_SHOWN},
        )
        return _with_link(made)

    told = do(visit, route="users/create", subject=visit.user.pk, fields=fields, work=work)
    return _after_link(visit, told) if told.is_done else _new(visit, Answered("create", told))


def _new(visit: Visit, answered: Answered | None) -> HttpResponse:
    form = form_of(visit, "create", offer(visit, MANAGE), answered)
    status = answered.told.status if answered else 200
    return show(visit, "console/person_new.html", {"title": "New person", "form": form}, status=status)


def _with_link(made: CreatedUser) -> Told:
    address = settings.PALYRA_PUBLIC_URL + reverse("admin:setup", kwargs={"text": made.setup_link})
    return Told(LINK_SHOWN, object_id=made.user.pk, secret=address)


def _after_link(visit: Visit, told: Told) -> HttpResponse:
    """The reveal to the post that made the link; a repeat of that post is led to the person's page."""
    user = require_person(visit, told.object_id or "")
    if not told.secret:
        notify(visit, told)
        return redirect("admin:user", user_id=user.pk)
    return reveal(
        visit,
        Secret(
            title="Hand this link over now",
            lead="Whoever opens it sets the password of this person, once, within 72 hours. It is shown this "
            "once; only a digest of it is kept.",
            text=told.secret,
            label=f"Setup link of {user.username}",
            back=reverse("admin:user", kwargs={"user_id": user.pk}),
            back_word="I have handed it over",
        ),
    )


def _post(visit: Visit, user: User, name: str, fields: Mapping[str, str], work: Work) -> HttpResponse:
    """Do a verb on a person; go back to their page, or show it again with the form open."""
    told = do(visit, route=f"users/{user.pk}/{name}", subject=user.pk, fields=fields, work=work)
    if not told.is_done:
        return shown(visit, user.pk, Answered(name, told))
    if told.secret:
        return _after_link(visit, told)
    notify(visit, told)
    return redirect("admin:user", user_id=user.pk)


@verb(MANAGE, sees=READ)
def change(visit: Visit, user_id: str) -> HttpResponse:
    """Change what is written about a person."""
    user = require_person(visit, user_id)
    fields = {name: text(visit, name) for name in ("display_name", "email")}

    def work(stepped: Visit, _: Ticket) -> Told:
        operations.change(
            principal=stepped.principal,
            user_id=user.pk,
            changes=fields,
            seen_version=seen_version(stepped),
            now=stepped.now,
        )
        return Told("What is written about this person was changed.")

    return _post(visit, user, "change", fields | {"version": text(visit, "version")}, work)


@verb(MANAGE, sees=READ)
def reset(visit: Visit, user_id: str) -> HttpResponse:
    """Take a person's authenticator, recovery codes and password away and reveal a new setup link."""
    user, reason = require_person(visit, user_id), text(visit, "reason")

    def work(stepped: Visit, ticket: Ticket) -> Told:
        made = operations.reset_factor(
            principal=stepped.principal,
            user_id=user.pk,
            reason=reasoned(reason),
            now=stepped.now,
            ticket=ticket,
            render=lambda made: {"sentence": LINK_SHOWN},
        )
        return _with_link(made)

    return _post(visit, user, "reset", {"reason": reason}, work)


@verb(MANAGE, sees=READ)
def disable(visit: Visit, user_id: str) -> HttpResponse:
    """Stop a person and all that acts for them."""
    done = "This person is disabled. Their sessions ended; their tokens and agents are refused."
    return _move(visit, user_id, "disable", operations.disable, done)


@verb(MANAGE, sees=READ)
def enable(visit: Visit, user_id: str) -> HttpResponse:
    """Let a disabled person act again."""
    return _move(visit, user_id, "enable", operations.enable, "This person may act again.")


def _move(visit: Visit, user_id: str, name: str, operation: Callable[..., User], done: str) -> HttpResponse:
    user, reason = require_person(visit, user_id), text(visit, "reason")

    def work(stepped: Visit, ticket: Ticket) -> Told:
        operation(
            principal=stepped.principal,
            user_id=user.pk,
            reason=reasoned(reason),
            now=stepped.now,
            ticket=ticket,
            render=lambda moved: {"sentence": done},
        )
        return Told(done)

    return _post(visit, user, name, {"reason": reason}, work)


@verb(MEMBERSHIPS, sees=READ)
def grant(visit: Visit, user_id: str) -> HttpResponse:
    """Give a person one more role."""
    user = require_person(visit, user_id)
    fields = {name: text(visit, name) for name in ("workspace", "role", "until")}

    def work(stepped: Visit, ticket: Ticket) -> Told:
        role = role_named(fields["role"])
        done = f"The role {role} was given."
        grant_role(
            principal=stepped.principal,
            workspace_id=fields["workspace"],
            user_id=user.pk,
            role=role,
            expires_at=end_of_day(fields["until"]),
            now=stepped.now,
            ticket=ticket,
            render=lambda made: {"sentence": done},
        )
        return Told(done)

    return _post(visit, user, "grant", fields, work)


@verb(MEMBERSHIPS, sees=READ)
def remove(visit: Visit, user_id: str) -> HttpResponse:
    """Take a role away from a person, or drop an own one."""
    user, wanted = require_person(visit, user_id), text(visit, "membership")
    held = roles_by_person(visit, [user.pk]).get(user.pk, [])
    row = next((one.membership for one in held if one.membership.pk == wanted), None)
    if row is None or row.user_id != user.pk:
        raise NotFoundError("not_found", "There is no such role.")

    def work(stepped: Visit, _: Ticket) -> Told:
        remove_role(
            principal=stepped.principal,
            workspace_id=row.workspace_id,
            membership_id=row.pk,
            now=stepped.now,
        )
        return Told(f"The role {row.role} in {row.workspace} was taken away.")

    return _post(visit, user, "remove", {"membership": wanted}, work)


def role_named(name: str) -> WorkspaceRole:
    """Return a role by its name, or raise InvalidError at `/role`."""
    if name not in frozenset(WorkspaceRole):
        raise invalid("/role", "unknown", "Choose a role.")
    return WorkspaceRole(name)


def end_of_day(typed: str) -> datetime | None:
    """Return the end (UTC) of a day such as 2026-05-31, None for no day; InvalidError at `/expires_at`."""
    if not typed:
        return None
    try:
        return datetime.combine(date.fromisoformat(typed), time.min, UTC) + timedelta(days=1)
    except (ValueError, OverflowError):
        raise invalid("/expires_at", "date", "Write a day as 2026-05-31.") from None
