"""Verbs on agents, as their pages post them."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from django.http import HttpResponse
from django.shortcuts import redirect

from governance.admin.access import Visit
from governance.admin.agents import owner_options, shown
from governance.admin.layout import show
from governance.admin.once import Told
from governance.admin.pages import page
from governance.admin.verbs import Answered, do, form_of, notify, offer, reasoned, seen_version, text, verb
from governance.idempotency import Ticket
from governance.operations import agents as operations
from identity.models import Agent
from identity.reach import require_agent
from identity.roles import Permission

READ, MANAGE = Permission.AGENTS_READ, Permission.AGENTS_MANAGE
REGISTERED = "The agent is registered. It needs a token before it can act."
Work = Callable[[Visit, Ticket], Told]


@page(READ)
def register(visit: Visit) -> HttpResponse:
    """Show the form of a new agent; a POST registers it in the present workspace."""
    if visit.request.method != "POST":
        return _new(visit, None)
    fields = {name: text(visit, name) for name in ("name", "purpose", "owner")}

    def work(stepped: Visit, ticket: Ticket) -> Told:
        made = operations.register(
            principal=stepped.principal,
            name=fields["name"],
            owner_id=fields["owner"],
            purpose=fields["purpose"],
            now=stepped.now,
            ticket=ticket,
            render=lambda agent: {"sentence": REGISTERED},
        )
        return Told(REGISTERED, object_id=made.pk)

    told = do(visit, route="agents/register", subject=visit.user.pk, fields=fields, work=work)
    if not told.is_done or told.object_id is None:
        return _new(visit, Answered("register", told))
    notify(visit, told)
    return redirect("admin:agent", agent_id=told.object_id)


def _new(visit: Visit, answered: Answered | None) -> HttpResponse:
    context = {
        "title": "New agent",
        "form": form_of(visit, "register", offer(visit, MANAGE), answered),
        "owners": owner_options(visit, visit.workspace.pk, None),
        "me": visit.user.pk,
    }
    return show(visit, "console/agent_new.html", context, status=answered.told.status if answered else 200)


@verb(MANAGE, sees=READ)
def change(visit: Visit, agent_id: str) -> HttpResponse:
    """Change name, purpose or owner of an agent as it stood on the page."""
    agent = require_agent(visit.principal, agent_id)
    fields = {name: text(visit, name) for name in ("name", "purpose", "owner")}

    def work(stepped: Visit, _: Ticket) -> Told:
        operations.change(
            principal=stepped.principal,
            agent_id=agent.pk,
            changes=fields,
            seen_version=seen_version(stepped),
            now=stepped.now,
        )
        return Told("The agent was changed.")

    return _post(visit, agent, "change", fields | {"version": text(visit, "version")}, work)


@verb(MANAGE, sees=READ)
def suspend(visit: Visit, agent_id: str) -> HttpResponse:
    """Stop an agent until somebody resumes it."""
    done = "The agent is suspended. Its next call is refused, and so is what it has queued."
    return _move(visit, agent_id, "suspend", operations.suspend, done)


@verb(MANAGE, sees=READ)
def resume(visit: Visit, agent_id: str) -> HttpResponse:
    """Let a suspended agent act again."""
    return _move(visit, agent_id, "resume", operations.resume, "The agent may act again.")


@verb(MANAGE, sees=READ)
def archive(visit: Visit, agent_id: str) -> HttpResponse:
    """Put an agent out of use for good."""
    done = "The agent is archived. Its tokens are revoked and its open runs cancelled."
    return _move(visit, agent_id, "archive", operations.archive, done)


def _move(visit: Visit, agent_id: str, name: str, operation: Callable[..., Agent], done: str) -> HttpResponse:
    agent, reason = require_agent(visit.principal, agent_id), text(visit, "reason")

    def work(stepped: Visit, ticket: Ticket) -> Told:
        operation(
            principal=stepped.principal,
            agent_id=agent.pk,
            reason=reasoned(reason),
            now=stepped.now,
            ticket=ticket,
            render=lambda moved: {"sentence": done},
        )
        return Told(done)

    return _post(visit, agent, name, {"reason": reason}, work)


def _post(visit: Visit, agent: Agent, name: str, fields: Mapping[str, str], work: Work) -> HttpResponse:
    told = do(visit, route=f"agents/{agent.pk}/{name}", subject=agent.pk, fields=fields, work=work)
    if not told.is_done:
        return shown(visit, agent.pk, Answered(name, told))
    notify(visit, told)
    return redirect("admin:agent", agent_id=agent.pk)
