"""Verbs of the console: what a page offers, the form of each, and what comes back to it.

A verb is a POST form with an own address. The operation behind it decides; what stands here only
keeps a person from pressing what cannot succeed, and says why.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import wraps

from django.contrib import messages
from django.http import HttpResponse, HttpResponseNotAllowed

from governance.admin.access import SENTENCES, Visit
from governance.admin.once import Say, Told, new_intent, once, sentence_of
from governance.admin.pages import Page, page
from governance.admin.stepping_up import stepped_up
from governance.idempotency import Ticket
from governance.operations.refusals import record_refusal
from identity.access import FEATURE_OF
from identity.authorization import required_strength, strength_of
from identity.inserting import invalid
from identity.roles import Permission
from identity.types import AuthStrength
from kernel.errors import NotFoundError, PalyraError

SHORTEST_REASON = 3
LONGEST_NUMBER = 9
NEEDS = "needs"
"""The attribute of a POST-only page that names what its operation asks for."""
_CODE_CODES = frozenset({"step_up_required", "authentication_throttled"})


@dataclass(frozen=True, slots=True)
class Offer:
    """Whether a verb may be pressed, whether a one-time code is due with it, and why not."""

    allowed: bool
    needs_code: bool = False
    reason: str = ""


@dataclass(frozen=True, slots=True)
class VerbForm:
    """One form as shown. `values` are what was typed when it comes back with `errors`."""

    name: str
    offer: Offer
    values: Mapping[str, str] = field(default_factory=dict)
    chosen: frozenset[str] = frozenset()
    errors: Mapping[str, str] = field(default_factory=dict)
    sentence: str = ""
    intent: str = field(default_factory=new_intent)

    @property
    def is_open(self) -> bool:
        return bool(self.sentence or self.errors)

    @property
    def code_id(self) -> str:
        return f"{self.name}-code"


@dataclass(frozen=True, slots=True)
class Answered:
    """A verb of this page that was posted and not done: it comes back open, with what was typed."""

    verb: str
    told: Told


def offer(
    visit: Visit,
    permission: Permission | None,
    *,
    workspace_id: str | None = None,
    blocked: str = "",
    fresh: bool = False,
) -> Offer:
    """Return what stands between this person and a verb; `blocked` is a reason of the object itself.

    A code that is still to be typed does not stand in the way. `fresh` is for a verb that asks for one
    whatever its permission says. Without a permission the verb is everybody's on what is their own.
    """
    reason = visit.refusal(permission, workspace_id) if permission is not None else None
    if reason is not None and reason != "step_up_required":
        return Offer(False, reason=_why_not(reason, permission))
    if blocked:
        return Offer(False, reason=blocked)
    asked = AuthStrength.FRESH_MFA if fresh else AuthStrength.NONE
    if permission is not None:
        asked = max(asked, required_strength(permission))
    return Offer(True, needs_code=strength_of(visit.principal, visit.now) < asked)


def _why_not(reason: str, permission: Permission | None) -> str:
    if reason == "feature_disabled" and permission in FEATURE_OF:
        return f"The feature {FEATURE_OF[permission]} is off here."
    return SENTENCES.get(reason, "Not permitted.").format(permission=permission)


def form_of(visit: Visit, name: str, offered: Offer, answered: Answered | None) -> VerbForm:
    """Return the form of a verb: empty, or as it was posted when it was not done."""
    if answered is None or answered.verb != name:
        return VerbForm(name, offered)
    post, told = visit.request.POST, answered.told
    return VerbForm(
        name,
        offered,
        values={key: post.get(key, "") for key in post if key not in ("code", "csrfmiddlewaretoken")},
        chosen=frozenset(value for key in post for value in post.getlist(key)),
        errors=errors_of(told.refusal),
        sentence=told.sentence,
    )


def errors_of(refusal: PalyraError | None) -> dict[str, str]:
    """Return what is wrong by field; `code` is the one-time code."""
    if refusal is None:
        return {}
    if refusal.code in _CODE_CODES:
        return {"code": refusal.detail or refusal.code}
    found: dict[str, str] = {}
    for one in refusal.errors:
        name = one.pointer.strip("/").partition("/")[0]
        found[name] = f"{found[name]} {one.detail}" if name in found else one.detail
    return found


def verb(
    needs: Permission | None, *, sees: Permission | None
) -> Callable[[Callable[..., HttpResponse]], Page]:
    """Make a POST-only page out of a function of a Visit.

    `needs` is what its operation asks for, `sees` what the page asks for on which its form stands: a
    missing code is the operation's to refuse, after the code of this form was tried.
    """

    def wrap(view: Callable[..., HttpResponse]) -> Page:
        @wraps(view)
        def posted(visit: Visit, **kwargs: str) -> HttpResponse:
            if visit.request.method != "POST":
                return HttpResponseNotAllowed(["POST"])
            return view(visit, **kwargs)

        guarded = page(sees)(posted)
        setattr(guarded, NEEDS, needs)
        return guarded

    return wrap


def do(
    visit: Visit,
    *,
    route: str,
    subject: str,
    fields: Mapping[str, object],
    work: Callable[[Visit, Ticket], Told],
    say: Say = sentence_of,
) -> Told:
    """Try the form's code, then do the verb; once for each rendering. A 403 leaves its own event."""

    def stepped(ticket: Ticket) -> Told:
        return work(stepped_up(visit), ticket)

    told = once(visit, route=route, fields=fields, work=stepped, say=say)
    if told.refusal is not None and told.status == 403:
        record_refusal(visit.principal, subject, told.refusal, visit.now)
    if told.refusal is not None and told.status == 404:
        raise NotFoundError(told.refusal.code, told.refusal.detail)
    return told


def text(visit: Visit, name: str) -> str:
    """Return a field as typed, without the spaces around it; NUL never reaches the database."""
    return visit.request.POST.get(name, "").replace("\0", "").strip()


def notify(visit: Visit, told: Told) -> None:
    """Leave the sentence for the page that follows."""
    messages.add_message(visit.request, messages.SUCCESS if told.is_done else messages.WARNING, told.sentence)


def number(visit: Visit, name: str, pointer: str, default: int) -> int:
    """Return a whole number as typed, `default` for an empty field; InvalidError at `pointer`."""
    typed = text(visit, name)
    if not typed:
        return default
    if not typed.isascii() or not typed.isdigit() or len(typed) > LONGEST_NUMBER:
        raise invalid(pointer, "number", "This is not a whole number.")
    return int(typed)


def reasoned(reason: str) -> str:
    """Return a reason that says something, or raise InvalidError at `/reason`."""
    if len(reason) < SHORTEST_REASON:
        raise invalid("/reason", "required", f"Say why, in at least {SHORTEST_REASON} characters.")
    return reason


def seen_version(visit: Visit) -> int:
    """Return the version that the page showed; none matches no object."""
    return number(visit, "version", "/version", 0)
