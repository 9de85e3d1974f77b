"""Putting rules in force, and going back: a view of its own for each, which says what must hold first."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

from django.http import HttpResponse
from django.shortcuts import redirect

from governance.admin.access import Visit
from governance.admin.layout import show
from governance.admin.once import Told, sentence_of
from governance.admin.pages import page
from governance.admin.policy_sets import ACTIVATE, READ, barred_offer, changes_between, open_question
from governance.admin.policy_verbs import CHANGED
from governance.admin.verbs import Answered, do, form_of, notify, number, seen_version, text, verb
from governance.idempotency import Ticket
from governance.operations import policy_activation as operations
from governance.operations.policy_activation import Activation
from kernel.errors import PalyraError
from policy.activation import ActivationWish, is_sole_activator, may_go_back_alone
from policy.activation_rules import Candidate, objection_to
from policy.lifecycle import SetState
from policy.models import PolicySet, SimulationRun
from policy.set_selectors import active_set, author_ids, in_force, require_set, simulation_facts

Work = Callable[[Visit, Ticket], Told]


@dataclass(frozen=True, slots=True)
class Condition:
    """One thing that must hold before a set comes into force, whether it does, and what to do if not."""

    holds: bool
    word: str
    about: str


@page(READ)
def activation(visit: Visit, set_id: str) -> HttpResponse:
    """Show what must hold before this set comes into force, and the form that puts it there."""
    return activation_page(visit, set_id)


def activation_page(visit: Visit, set_id: str, answered: Answered | None = None) -> HttpResponse:
    """Return the view of an activation, with a form that came back open."""
    row = require_set(set_id)
    run = row.simulations.filter(state="succeeded").order_by("-number").first()
    conditions = _conditions(visit, row, run)
    missing = next((one.about for one in conditions if not one.holds), "")
    return show(
        visit,
        "console/policy_activate.html",
        {
            "title": f"Activate version {row.version}",
            "set": row,
            "run": run,
            "conditions": conditions,
            "second": _second_person(visit, row),
            "wrote": visit.user.pk in author_ids(row),
            "question": open_question(visit, row),
            "diff": changes_between(active_set(row.domain), row),
            "form": form_of(visit, "activate", barred_offer(visit, ACTIVATE, blocked=missing), answered),
        },
        status=answered.told.status if answered else 200,
    )


@page(READ)
def going_back(visit: Visit, set_id: str) -> HttpResponse:
    """Show what going back to this set means, and the form that does it."""
    return rollback_page(visit, set_id)


def rollback_page(visit: Visit, set_id: str, answered: Answered | None = None) -> HttpResponse:
    """Return the view of a rollback, with a form that came back open."""
    row = require_set(set_id)
    left = active_set(row.domain)
    blocked = "" if row.state == SetState.SUPERSEDED else "Only a set that was in force before is restored."
    alone = left is not None and may_go_back_alone(row, left, visit.now)
    return show(
        visit,
        "console/policy_rollback.html",
        {
            "title": f"Go back to version {row.version}",
            "set": row,
            "left": left,
            "alone": alone or is_sole_activator(visit.user.pk, visit.now),
            "is_direct": alone,
            "question": open_question(visit, row),
            "diff": changes_between(left, row),
            "form": form_of(visit, "rollback", barred_offer(visit, ACTIVATE, blocked=blocked), answered),
        },
        status=answered.told.status if answered else 200,
    )


@verb(ACTIVATE, sees=READ)
def activate(visit: Visit, set_id: str) -> HttpResponse:
    """Put the set in force, or ask a second person where this one wrote some of it."""
    fields = {field: text(visit, field) for field in ("reason", "simulation", "loosened", "version")}

    def work(stepped: Visit, _: Ticket) -> Told:
        wish = ActivationWish(
            reason=fields["reason"],
            simulation=number(stepped, "simulation", "/simulation", 0),
            acknowledged_loosened=number(stepped, "loosened", "/loosened", -1),
        )
        made = operations.activate(
            principal=stepped.principal,
            set_id=set_id,
            wish=wish,
            seen_version=seen_version(stepped),
            now=stepped.now,
        )
        return _told(made)

    return _post(visit, set_id, "activate", fields, work, activation_page)


@verb(ACTIVATE, sees=READ)
def rollback(visit: Visit, set_id: str) -> HttpResponse:
    """Restore the text of an earlier set, or ask a second person to."""
    fields = {field: text(visit, field) for field in ("reason", "version")}

    def work(stepped: Visit, _: Ticket) -> Told:
        made = operations.rollback(
            principal=stepped.principal,
            set_id=set_id,
            reason=fields["reason"],
            seen_version=seen_version(stepped),
            now=stepped.now,
        )
        return _told(made)

    return _post(visit, set_id, "rollback", fields, work, rollback_page)


def _post(
    visit: Visit,
    set_id: str,
    name: str,
    fields: Mapping[str, object],
    work: Work,
    back: Callable[[Visit, str, Answered], HttpResponse],
) -> HttpResponse:
    told = do(visit, route=f"policy {name}", subject=set_id, fields=fields, work=work, say=_say)
    if not told.is_done:
        return back(visit, set_id, Answered(name, told))
    notify(visit, told)
    if told.object_id is not None and told.object_id.startswith("apr_"):
        return redirect("admin:approval", request_id=told.object_id)
    return redirect("admin:policy_set", set_id=told.object_id or set_id)


def _told(made: Activation) -> Told:
    if made.request is not None:
        return Told("A second person is asked; their yes puts it in force.", object_id=made.request.pk)
    row = made.policy_set
    return Told(f"Version {row.version} is in force from the next decision on.", object_id=row.pk)


def _say(refusal: PalyraError) -> str:
    return CHANGED if refusal.code == "precondition_failed" else sentence_of(refusal)


def _conditions(visit: Visit, row: PolicySet, run: SimulationRun | None) -> list[Condition]:
    force = in_force(row.domain)
    candidate = Candidate(row.state, row.hash or "", row.parent_id)
    facts = simulation_facts(row, run.number) if run else None
    objection = objection_to(candidate, force, facts, facts.loosened if facts else 0, visit.now)
    stale = objection.detail if objection and objection.code == "simulation_stale" else ""
    valid = row.state == SetState.VALIDATED
    return [
        Condition(valid, "Validated", "" if valid else f"This set is {row.state}; validate a draft first."),
        Condition(
            (row.parent_id or "") == force.id,
            "Drafted over the rules in force",
            "Other rules came into force since; draft again from those.",
        ),
        Condition(
            facts is not None and not stale,
            "Simulated over everything, within a day",
            stale if run else "Simulate it once it is validated.",
        ),
    ]


def _second_person(visit: Visit, row: PolicySet) -> bool:
    """Tell whether this person wrote some of it and somebody else could let it be."""
    wrote = visit.user.pk in author_ids(row)
    return wrote and not is_sole_activator(visit.user.pk, visit.now)
