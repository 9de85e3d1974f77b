"""Pages of policy sets: the versions, one of them with its verbs, and what it changes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import lru_cache

from django.db.models import Func, IntegerField, OuterRef, QuerySet, Subquery
from django.http import HttpResponse

from approvals.models import ApprovalRequest
from approvals.selectors import visible_to
from approvals.types import RequestStatus, SubjectType
from governance.admin.access import Visit
from governance.admin.layout import show
from governance.admin.names import names_of
from governance.admin.pages import page
from governance.admin.paging import choice_filter, list_page
from governance.admin.policy_reading import Changes, changes_of, part_of, set_views
from governance.admin.verbs import Answered, Offer, VerbForm, form_of, offer
from identity.roles import Permission
from identity.selectors import instance_holders
from kernel.ids import is_id
from policy.archive import pack, pack_cedar
from policy.compilation import DOMAIN
from policy.diffing import diff_sets
from policy.lifecycle import SetState
from policy.models import DecisionRecord, PolicySet
from policy.set_selectors import ACTIVE, active_set, findings_of, policy_sets, require_set, source_files
from policy.shipped import pack_file, pack_names

READ, EDIT, ACTIVATE = Permission.POLICY_READ, Permission.POLICY_EDIT, Permission.POLICY_ACTIVATE
SIMULATE = Permission.POLICY_SIMULATE
MOST_COUNTED = 10_000
CHANGES_KEPT = 32
MOST_CHOICES = 50
NOT_IN_INSTANCE = "The rules belong to the whole installation: this needs {permission} in it."
STATES = frozenset(SetState)


TextKey = tuple[str, int]
"""A set and the version of its text."""


class Counted(Func):
    """How many rows a bounded query has."""

    template = "(SELECT COUNT(*) FROM %(expressions)s counted)"
    output_field = IntegerField()


@page(READ)
def policy(visit: Visit) -> HttpResponse:
    """List the versions of the rules, newest first."""
    return shown_list(visit)


@page(READ)
def policy_set(visit: Visit, set_id: str) -> HttpResponse:
    """Show one set."""
    return shown(visit, set_id)


@page(READ)
def in_force(visit: Visit) -> HttpResponse:
    """Show the set in force, or the list while there is none."""
    active = active_set()
    return shown(visit, active.pk) if active else shown_list(visit)


def shown_list(visit: Visit, answered: Answered | None = None) -> HttpResponse:
    """Return the list, with a verb that came back open."""
    state = choice_filter(visit, "state", STATES)
    rows = policy_sets().filter(state=state) if state else policy_sets()
    found = list_page(visit, _with_counts(rows), prefix="pol", filters={"state": state})
    edit = barred_offer(visit, EDIT)
    return show(
        visit,
        "console/policy.html",
        {
            "title": "Policy",
            "active": active_set(),
            "found": found,
            "rows": found.rows,
            "filters": {"state": state},
            "states": [one.value for one in SetState],
            "most": MOST_COUNTED,
            "names": names_of(_people(found.rows)),
            "draft": form_of(visit, "draft", edit, answered),
            "import": form_of(visit, "import", edit, answered),
            "sources": _sources(),
        },
        status=answered.told.status if answered else 200,
    )


def shown(visit: Visit, set_id: str, answered: Answered | None = None) -> HttpResponse:
    """Return the page of a set, with a verb that came back open."""
    row = require_set(set_id)
    findings = findings_of(row)
    edit = barred_offer(visit, EDIT, blocked="" if row.state == SetState.DRAFT else _not_a_draft(row))
    offers = {
        "again": barred_offer(visit, EDIT),
        "simulate": _simulable(visit, row),
        "shadow": _shadowable(visit, row),
        **dict.fromkeys(("validate", "describe", "discard", "add"), edit),
    }
    forms = {name: form_of(visit, name, offered, answered) for name, offered in offers.items()}
    return show(
        visit,
        "console/policy_set.html",
        {
            **forms,
            "unsaid": _unsaid(forms, answered),
            "title": f"Policy, version {row.version}",
            "set": row,
            "is_palyra": row.domain == DOMAIN,
            "files": set_views(source_files(row), findings),
            "findings": [(one, part_of(one.line)) for one in findings],
            "errors": [one for one in findings if one.severity == "error"],
            "question": open_question(visit, row),
            "authors": list(row.authors.all()),
            "names": names_of((row.activated_by, row.validated_by)),
            "decided": _decided(row),
            "most": MOST_COUNTED,
            "simulations": row.simulations.order_by("-number")[:5],
            "activate": barred_offer(visit, ACTIVATE, blocked=_not_activatable(row)),
            "rollback": barred_offer(visit, ACTIVATE, blocked=_not_restorable(row)),
            "packs": [(name, name.replace("_", " ")) for name in missing_packs(row)],
        },
        status=answered.told.status if answered else 200,
    )


@page(READ)
def policy_diff(visit: Visit, set_id: str) -> HttpResponse:
    """Show what a set changes against the one in force, or against another."""
    row = require_set(set_id)
    chosen = visit.request.GET.get("against", "")
    against = require_set(chosen) if is_id("pol", chosen) else active_set(row.domain)
    same_domain = against is not None and against.domain == row.domain
    return show(
        visit,
        "console/policy_diff.html",
        {
            "title": f"What version {row.version} changes",
            "set": row,
            "against": against if same_domain else None,
            "chosen": chosen,
            "diff": changes_between(against, row) if same_domain else None,
            "others": _others(row),
        },
    )


@page(READ)
def export(visit: Visit, set_id: str) -> HttpResponse:
    """Give the set as a zip or as one Cedar file; imported again it has the same text to the byte."""
    row = require_set(set_id)
    files = source_files(row)
    one = visit.request.GET.get("format") == "cedar"
    data = pack_cedar(files).encode() if one else pack(files)
    answer = HttpResponse(data, content_type="text/plain; charset=utf-8" if one else "application/zip")
    name = f"{row.domain}-v{row.version}.{'cedar' if one else 'zip'}"
    answer["Content-Disposition"] = f'attachment; filename="{name}"'
    return answer


def barred_offer(visit: Visit, permission: Permission, *, blocked: str = "") -> Offer:
    """Offer a verb on the rules of the installation: a role in one workspace is not enough."""
    here = "" if visit.user.pk in instance_holders(permission, visit.now) else NOT_IN_INSTANCE
    return offer(visit, permission, blocked=here.format(permission=permission.value) or blocked)


def open_question(visit: Visit, row: PolicySet) -> ApprovalRequest | None:
    """Return the request that waits for a second person's word on this set, if this person may see it."""
    about = visible_to(visit.principal, visit.now).filter(
        subject_type=SubjectType.POLICY_ACTIVATION, subject_id=row.pk, status=RequestStatus.PENDING
    )
    return about.filter(expires_at__gt=visit.now).order_by("-requested_at").first()


def missing_packs(row: PolicySet) -> list[str]:
    """Return the names of the shipped packs that the set does not include."""
    present = set(row.files.values_list("name", flat=True))
    return [name for name in pack_names() if pack_file(name).name not in present]


def _with_counts(rows: QuerySet[PolicySet]) -> QuerySet[PolicySet]:
    """Add how many decisions each set made, counted up to a bound."""
    made = DecisionRecord.objects.filter(policy_set=OuterRef("pk")).order_by().values("pk")
    return rows.annotate(decided=Counted(Subquery(made[: MOST_COUNTED + 1])))


def _decided(row: PolicySet) -> int:
    """Count what this set decided, up to the bound: no page counts millions."""
    made = DecisionRecord.objects.filter(policy_set=row).order_by().values("pk")
    counted = Counted(Subquery(made[: MOST_COUNTED + 1]))
    return int(PolicySet.objects.filter(pk=row.pk).values_list(counted, flat=True)[0])


def _people(rows: Sequence[PolicySet]) -> list[str]:
    return [row.activated_by for row in rows]


def _sources() -> list[tuple[str, str]]:
    """The sets that a draft may begin with, the one in force first."""
    rows = PolicySet.objects.filter(domain=DOMAIN).exclude(state=SetState.ACTIVE).order_by("-version")
    listed = [(row.pk, f"Version {row.version}: {row.title}") for row in rows[:MOST_CHOICES]]
    return [(ACTIVE, "The rules in force"), *listed, ("", "Nothing: an empty set")]


def _others(row: PolicySet) -> list[tuple[str, str]]:
    rows = PolicySet.objects.filter(domain=row.domain).exclude(pk=row.pk).order_by("-version")
    return [(one.pk, f"Version {one.version} ({one.state})") for one in rows[:MOST_CHOICES]]


def changes_between(old: PolicySet | None, new: PolicySet) -> Changes:
    """Return what `new` changes in `old`; in place of no set it adds everything."""
    return _changes(_text_key(old) if old else None, _text_key(new))


@lru_cache(maxsize=CHANGES_KEPT)
def _changes(old: TextKey | None, new: TextKey) -> Changes:
    """Compare two texts once: with twenty thousand rules that takes seconds. Each edit is another key."""
    before = source_files(require_set(old[0])) if old else ()
    return changes_of(diff_sets(before, source_files(require_set(new[0]))))


def _text_key(row: PolicySet) -> TextKey:
    return row.pk, row.edit_version


def _not_a_draft(row: PolicySet) -> str:
    return f"This set is {row.state} and does not change; make a new draft from it."


def _unsaid(forms: Mapping[str, VerbForm], answered: Answered | None) -> str:
    """Return what a refused verb said when its own form is not offered any more to say it."""
    if answered is None or forms[answered.verb].offer.allowed:
        return ""
    return answered.told.sentence


def _simulable(visit: Visit, row: PolicySet) -> Offer:
    tried = row.state in (SetState.DRAFT, SetState.VALIDATED)
    return offer(
        visit, SIMULATE, blocked="" if tried else f"This set is {row.state}; nothing is to be tried."
    )


def _shadowable(visit: Visit, row: PolicySet) -> Offer:
    validated = row.state == SetState.VALIDATED
    blocked = "" if validated or row.shadow_since else "Only a validated set is watched in shadow."
    return barred_offer(visit, EDIT, blocked=blocked)


def _not_activatable(row: PolicySet) -> str:
    if row.state == SetState.DRAFT:
        return "Validate it first: only a validated set comes into force."
    return "" if row.state == SetState.VALIDATED else f"This set is {row.state}."


def _not_restorable(row: PolicySet) -> str:
    return "" if row.state == SetState.SUPERSEDED else "Only a set that was in force before is restored."
