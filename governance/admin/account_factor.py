"""The pages of one's authenticator and recovery codes."""

from __future__ import annotations

from django.contrib import messages
from django.http import HttpResponse
from django.shortcuts import redirect
from django_otp import DEVICE_ID_SESSION_KEY

from governance.admin.access import Visit
from governance.admin.account import account_context
from governance.admin.entering import Stage, moved_session
from governance.admin.layout import show, show_plain
from governance.admin.once import Told, new_intent
from governance.admin.qr import qr_code
from governance.admin.stepping_up import needs_code
from governance.admin.steps import open_at, show_step
from governance.admin.verbs import do, errors_of, text, verb
from governance.idempotency import Ticket
from governance.operations import factors as operations
from identity.factors import Offer, offer_seed, open_offer
from identity.selectors import has_factor
from identity.totp import provisioning_uri
from kernel.errors import InvalidError

ENROLLED = "Your authenticator is set up. Every other session of yours has ended."
RENEWED = "You have ten new recovery codes."
GROUP = 4


@open_at(Stage.FACTOR, Stage.IN)
def authenticator(visit: Visit) -> HttpResponse:
    """Show a new seed as a QR code, or put it in force with one code of it."""
    if visit.request.method != "POST":
        return _form(visit, offer_seed(user=visit.user, now=visit.now))
    codes: list[str] = []

    def enrol(stepped: Visit, ticket: Ticket) -> Told:
        offer = open_offer(user=stepped.user, sealed=stepped.request.POST.get("offer", ""), now=stepped.now)
        made = operations.enrol(
            principal=stepped.principal, offer=offer, code=_digits(stepped), now=stepped.now
        )
        moved_session(stepped.request, made.session_key)
        stepped.request.session[DEVICE_ID_SESSION_KEY] = made.factor.persistent_id
        codes.extend(made.recovery_codes)
        return Told(ENROLLED)

    fields = {"offer": visit.request.POST.get("offer", ""), "new_code": _digits(visit)}
    told = do(visit, route="account/authenticator", subject=visit.user.pk, fields=fields, work=enrol)
    if not told.is_done:
        return _form(visit, _same_offer(visit), told)
    if codes:
        return _reveal(visit, codes, told.sentence)
    messages.success(visit.request, told.sentence)
    return redirect("admin:account")


@verb(None, sees=None)
def recovery_codes(visit: Visit) -> HttpResponse:
    """Make ten new recovery codes and show them once."""
    codes: list[str] = []

    def renew(stepped: Visit, ticket: Ticket) -> Told:
        codes.extend(operations.renew_recovery_codes(principal=stepped.principal, now=stepped.now))
        return Told(RENEWED)

    told = do(visit, route="account/recovery-codes", subject=visit.user.pk, fields={}, work=renew)
    if codes:
        return _reveal(visit, codes, told.sentence)
    if told.is_done:
        return redirect("admin:account")
    refused = {"code_error": errors_of(told.refusal).get("code") or told.sentence}
    return show(visit, "console/account.html", account_context(visit) | refused, status=told.status)


def _form(visit: Visit, offer: Offer, told: Told | None = None) -> HttpResponse:
    """A code typed wrong leaves the seed as it was scanned; the next form has an intent of its own."""
    errors = errors_of(told.refusal) if told else {}
    context = {
        "title": "Set up an authenticator",
        "replaces": has_factor(visit.user.pk),
        "needs_code": needs_code(visit),
        "offer": offer.sealed,
        "secret": [offer.secret[start : start + GROUP] for start in range(0, len(offer.secret), GROUP)],
        "qr": qr_code(provisioning_uri(account=visit.user.username, seed=offer.seed)),
        "errors": errors,
        "sentence": "" if not told or {"code", "new_code"} & errors.keys() else told.sentence,
        "intent": new_intent(),
    }
    return show_step(
        visit, "console/account_authenticator.html", context, status=told.status if told else 200
    )


def _same_offer(visit: Visit) -> Offer:
    try:
        return open_offer(user=visit.user, sealed=visit.request.POST.get("offer", ""), now=visit.now)
    except InvalidError:
        return offer_seed(user=visit.user, now=visit.now)


def _reveal(visit: Visit, codes: list[str], sentence: str) -> HttpResponse:
    halves = [f"{code[:5]}-{code[5:]}" for code in codes]
    context = {"codes": halves, "sentence": sentence, "username": visit.user.username}
    return show_plain(visit.request, "console/recovery_codes.html", context, status=200)


def _digits(visit: Visit) -> str:
    return "".join(text(visit, "new_code").split())
