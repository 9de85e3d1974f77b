"""Verbs on webhooks. A secret is in the answer to the post that made it, once."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from django.http import HttpResponse
from django.shortcuts import redirect

from governance.admin.access import Visit
from governance.admin.layout import show
from governance.admin.once import Told
from governance.admin.pages import page
from governance.admin.reveal import Secret, reveal
from governance.admin.verbs import (
    Answered,
    do,
    errors_of,
    form_of,
    notify,
    offer,
    seen_version,
    text,
    verb,
)
from governance.admin.webhooks import ALL, MANAGE, choices, shown
from governance.idempotency import Ticket
from governance.notifications import webhooks as endpoints
from governance.notifications.addresses import LONGEST_URL
from governance.notifications.webhooks import LONGEST_DESCRIPTION, origin_of, require_endpoint
from governance.operations import webhooks as operations
from governance.operations.webhooks import create as create_webhook, delete as delete_webhook
from identity.inserting import invalid
from kernel.errors import PalyraError

Work = Callable[[Visit, Ticket], Told]
CREATED = "The webhook was made. Its secret was shown once and is not shown again."
ROTATED = "The secret was changed. The new one was shown once and is not shown again."
CHANGED = "The webhook changed while this page was open. Look at it again."


@page(MANAGE)
def create(visit: Visit) -> HttpResponse:
    """Show the form of a new webhook; a POST makes it in the present workspace."""
    if visit.request.method != "POST":
        return _new(visit, None)
    fields = _wishes(visit)

    def work(stepped: Visit, ticket: Ticket) -> Told:
        _require_lengths(fields)
        told = create_webhook(
            principal=stepped.principal,
            url=str(fields["url"]),
            event_types=_types(fields),
            description=str(fields["description"]),
            now=stepped.now,
            ticket=ticket,
            render=lambda made: {"sentence": CREATED},
        )
        return _told(told, CREATED)

    told = do(visit, route="webhooks/create", subject=visit.user.pk, fields=fields, work=work)
    return _answer(visit, told) if told.is_done else _new(visit, Answered("create", told))


@verb(MANAGE, sees=MANAGE)
def change(visit: Visit, webhook_id: str) -> HttpResponse:
    """Change where an endpoint is and what it is told of, as it stood on the page."""
    fields = _wishes(visit) | {"version": text(visit, "version")}

    def work(stepped: Visit, _: Ticket) -> Told:
        _require_lengths(fields)
        wishes = {name: fields[name] for name in ("url", "description")} | {"event_types": _types(fields)}
        return _changed(stepped, webhook_id, wishes, "The webhook was changed.")

    return _post(visit, webhook_id, "change", fields, work)


@verb(MANAGE, sees=MANAGE)
def switch(visit: Visit, webhook_id: str) -> HttpResponse:
    """Switch an endpoint on or off."""
    fields = {name: text(visit, name) for name in ("to", "version")}

    def work(stepped: Visit, _: Ticket) -> Told:
        if fields["to"] not in ("on", "off"):
            raise invalid("/to", "unknown", "Choose on or off.")
        on = fields["to"] == "on"
        said = "The webhook is on." if on else "The webhook is off. What happens meanwhile is not sent to it."
        return _changed(stepped, webhook_id, {"enabled": on}, said)

    return _post(visit, webhook_id, "switch", fields, work)


@verb(MANAGE, sees=MANAGE)
def rotate(visit: Visit, webhook_id: str) -> HttpResponse:
    """Give an endpoint a new secret; the one before signs beside it for a day."""
    require_endpoint(visit.principal, webhook_id, visit.now)

    def work(stepped: Visit, ticket: Ticket) -> Told:
        told = operations.rotate(
            principal=stepped.principal,
            endpoint_id=webhook_id,
            now=stepped.now,
            ticket=ticket,
            render=lambda made: {"sentence": ROTATED},
        )
        return _told(told, ROTATED)

    told = do(visit, route=f"webhooks/{webhook_id}/rotate", subject=webhook_id, fields={}, work=work)
    return _answer(visit, told) if told.is_done else shown(visit, webhook_id, Answered("rotate", told))


@verb(MANAGE, sees=MANAGE)
def test(visit: Visit, webhook_id: str) -> HttpResponse:
    """Send one delivery that says nothing."""

    def work(stepped: Visit, ticket: Ticket) -> Told:
        said = "A test is on its way; it stands in the list below."
        operations.ping(
            principal=stepped.principal,
            endpoint_id=webhook_id,
            now=stepped.now,
            ticket=ticket,
            render=lambda made: {"sentence": said},
        )
        return Told(said, object_id=webhook_id)

    return _post(visit, webhook_id, "test", {}, work)


@verb(MANAGE, sees=MANAGE)
def delete(visit: Visit, webhook_id: str) -> HttpResponse:
    """Take an endpoint out of use for good."""
    require_endpoint(visit.principal, webhook_id, visit.now)
    fields = {"version": text(visit, "version")}

    def work(stepped: Visit, _: Ticket) -> Told:
        delete_webhook(
            principal=stepped.principal,
            endpoint_id=webhook_id,
            seen_version=seen_version(stepped),
            now=stepped.now,
        )
        return Told("The webhook is deleted. Nothing more is sent to it.")

    told = do(
        visit, route=f"webhooks/{webhook_id}/delete", subject=webhook_id, fields=fields, work=work, say=_say
    )
    if not told.is_done:
        return shown(visit, webhook_id, Answered("delete", told))
    notify(visit, told)
    return redirect("admin:webhooks")


@verb(MANAGE, sees=MANAGE)
def replay(visit: Visit, webhook_id: str, delivery_id: str) -> HttpResponse:
    """Send an ended delivery again under its old id."""

    def work(stepped: Visit, ticket: Ticket) -> Told:
        said = "It is sent again, under the same id."
        operations.redeliver(
            principal=stepped.principal,
            delivery_id=delivery_id,
            now=stepped.now,
            ticket=ticket,
            render=lambda made: {"sentence": said},
        )
        return Told(said, object_id=delivery_id)

    return _post(visit, webhook_id, f"again-{delivery_id}", {}, work)


def _changed(visit: Visit, webhook_id: str, changes: Mapping[str, object], said: str) -> Told:
    operations.change(
        principal=visit.principal,
        endpoint_id=webhook_id,
        changes=changes,
        seen_version=seen_version(visit),
        now=visit.now,
    )
    return Told(said, object_id=webhook_id)


def _wishes(visit: Visit) -> dict[str, object]:
    chosen = (one.replace("\0", "") for one in visit.request.POST.getlist("events"))
    return {
        "url": text(visit, "url"),
        "description": text(visit, "description"),
        "events": sorted(set(chosen)),
    }


def _require_lengths(fields: Mapping[str, object]) -> None:
    for name, most in (("url", LONGEST_URL), ("description", LONGEST_DESCRIPTION)):
        if len(str(fields[name])) > most:
            raise invalid(f"/{name}", "length", f"At most {most} characters.")


def _types(fields: Mapping[str, object]) -> list[str]:
    """Return the kinds of events as stored: what a wider choice holds already is left out."""
    events = fields["events"]
    chosen = [str(one) for one in events] if isinstance(events, list) else []
    if ALL in chosen:
        return [ALL]
    families = {one.removesuffix(".*") for one in chosen if one.endswith(".*")}
    return [one for one in chosen if one.endswith(".*") or one.partition(".")[0] not in families]


def _told(told: endpoints.Told, sentence: str) -> Told:
    """Return the first answer; the repeat of it knows only the sentence."""
    return Told(sentence, object_id=told.endpoint.pk, secret=told.secret)


def _answer(visit: Visit, told: Told) -> HttpResponse:
    """The reveal to the post that made the secret; a repeat of that post is led to the list."""
    if not told.secret or told.object_id is None:
        notify(visit, told)
        return redirect("admin:webhooks")
    endpoint = require_endpoint(visit.principal, told.object_id, visit.now)
    return reveal(
        visit,
        Secret(
            title="Copy this secret now",
            lead="The receiver checks with it that a message is ours. It is kept sealed and shown this once.",
            text=told.secret,
            label=f"Secret of the webhook at {origin_of(endpoint.url)}",
            back=f"/admin/webhooks/{endpoint.pk}/",
            back_word="I have copied it",
        ),
    )


def _new(visit: Visit, answered: Answered | None) -> HttpResponse:
    form = form_of(visit, "create", offer(visit, MANAGE), answered)
    refusal = answered.told.refusal if answered else None
    context = {
        "title": "New webhook",
        "form": form,
        "errors": errors_of(refusal),
        "chosen": form.chosen,
        "longest_description": LONGEST_DESCRIPTION,
    }
    return show(
        visit,
        "console/webhook_new.html",
        context | choices(),
        status=answered.told.status if answered else 200,
    )


def _post(visit: Visit, webhook_id: str, name: str, fields: Mapping[str, object], work: Work) -> HttpResponse:
    require_endpoint(visit.principal, webhook_id, visit.now)
    told = do(
        visit, route=f"webhooks/{webhook_id}/{name}", subject=webhook_id, fields=fields, work=work, say=_say
    )
    if not told.is_done:
        return shown(visit, webhook_id, Answered(name, told))
    notify(visit, told)
    return redirect("admin:webhook", webhook_id=webhook_id)


def _say(refusal: PalyraError) -> str:
    return CHANGED if refusal.code == "precondition_failed" else refusal.detail or refusal.code
