"""The page on which somebody replaces their password, because they want to or because they must."""

from __future__ import annotations

import json

from django.contrib import messages
from django.contrib.auth import update_session_auth_hash
from django.http import HttpResponse
from django.shortcuts import redirect
from django.views.decorators.debug import sensitive_variables

from governance.admin.access import Visit
from governance.admin.entering import PAGE_OF, Stage
from governance.admin.once import Told, new_intent
from governance.admin.steps import open_at, show_step
from governance.admin.verbs import do, errors_of
from governance.idempotency import Ticket
from governance.operations import passwords
from identity.sealing import keyed_digest
from kernel.errors import Detail, InvalidError

MISTYPED = "The two passwords are not the same."
CHANGED = "Your password is changed. Every other session of yours has ended."


@open_at(Stage.PASSWORD, Stage.IN)
def password(visit: Visit) -> HttpResponse:
    """Show the form, or take it."""
    if visit.request.method != "POST":
        return _form(visit)
    typed = typed_secrets(visit, "current", "password", "again")
    told = do(visit, route="account/password", subject=visit.user.pk, fields=typed, work=_change)
    if not told.is_done:
        return _form(visit, told)
    messages.success(visit.request, told.sentence)
    return redirect("admin:account" if not visit.user.must_change_password else PAGE_OF[Stage.IN])


def typed_secrets(visit: Visit, *names: str) -> dict[str, object]:
    """Return what tells two posts of secrets apart and lets nobody search for what was typed."""
    typed = [visit.request.POST.get(name, "") for name in names]
    return {"typed": keyed_digest("console form", json.dumps(typed)).hex()}


@sensitive_variables()
def _change(visit: Visit, ticket: Ticket) -> Told:
    post = visit.request.POST
    new = post.get("password", "")
    if new != post.get("again", ""):
        raise InvalidError("invalid", MISTYPED, errors=(Detail("/again", "mistyped", MISTYPED),))
    changed = passwords.change(
        principal=visit.principal, current=post.get("current", ""), new=new, now=visit.now
    )
    update_session_auth_hash(visit.request, changed)
    return Told(CHANGED)


def _form(visit: Visit, told: Told | None = None) -> HttpResponse:
    errors = errors_of(told.refusal) if told else {}
    context = {
        "title": "Change password",
        "errors": errors,
        "sentence": told.sentence if told and not errors else errors.get("code", ""),
        "intent": new_intent(),
        "is_due": visit.user.must_change_password,
        "username": visit.user.username,
    }
    return show_step(visit, "console/account_password.html", context, status=told.status if told else 200)
