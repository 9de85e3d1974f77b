"""The page on which the first start's credentials are ended."""

from __future__ import annotations

from django.contrib import messages
from django.contrib.auth import update_session_auth_hash
from django.http import HttpResponse
from django.shortcuts import redirect
from django.views.decorators.debug import sensitive_variables

from governance import bootstrapped
from governance.admin.access import Visit
from governance.admin.account_password import MISTYPED, typed_secrets
from governance.admin.layout import show
from governance.admin.once import Told, new_intent, once
from governance.admin.pages import page
from governance.admin.verbs import errors_of, text
from governance.idempotency import Ticket
from governance.operations import installation
from kernel.errors import Detail, InvalidError

CLEARED = "The first start's credentials are gone. Sign in with your own from now on."


@page(None)
def clear(visit: Visit) -> HttpResponse:
    """Show what is left and what is still to do, or end it."""
    if visit.request.method != "POST":
        return _form(visit)
    typed = typed_secrets(visit, "password", "again")
    told = once(visit, route="account/bootstrap", fields=typed, work=lambda ticket: _clear(visit, ticket))
    if not told.is_done:
        return _form(visit, told)
    messages.success(visit.request, told.sentence)
    return redirect("admin:index")


@sensitive_variables()
def _clear(visit: Visit, ticket: Ticket) -> Told:
    """The code proves the owner by itself, so it is not taken as a step-up of this session."""
    new = visit.request.POST.get("password", "")
    if new != visit.request.POST.get("again", ""):
        raise InvalidError("invalid", MISTYPED, errors=(Detail("/again", "mistyped", MISTYPED),))
    owner = installation.clear_bootstrap(
        principal=visit.principal,
        code="".join(text(visit, "code").split()),
        new_password=new,
        now=visit.now,
    )
    if owner is not None and owner.pk == visit.user.pk:
        update_session_auth_hash(visit.request, owner)
    return Told(CLEARED)


def _form(visit: Visit, told: Told | None = None) -> HttpResponse:
    owner = bootstrapped.owner()
    errors = errors_of(told.refusal) if told else {}
    context = {
        "title": "End the first start's credentials",
        "is_left": bootstrapped.is_left(),
        "file_left": bootstrapped.credentials_file().exists(),
        "seed_left": bootstrapped.seed_in_force(),
        "token_left": bool(bootstrapped.live_tokens()),
        "owner": owner,
        "is_owner": owner is not None and owner.pk == visit.user.pk,
        "errors": errors,
        "sentence": told.sentence if told and not errors else "",
        "intent": new_intent(),
    }
    return show(visit, "console/account_bootstrap.html", context, status=told.status if told else 200)
