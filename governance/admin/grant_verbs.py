"""Verbs on grants and remembered denials, as their pages post them."""

from __future__ import annotations

from django.http import HttpResponse
from django.shortcuts import redirect

from approvals.answers import checked_comment
from governance.admin.access import Visit
from governance.admin.grants import READ, REVOKE, denials_listed, listed, require_grant, shown
from governance.admin.once import Told, once
from governance.admin.stepping_up import stepped_up
from governance.admin.ticked import each_of, ticked_ids
from governance.admin.verbs import Answered, notify, text, verb
from governance.idempotency import Ticket
from governance.operations import grants as operations
from kernel.errors import NotFoundError

REVOKED = "The grant is revoked. No execution that starts from now on uses it."


@verb(REVOKE, sees=READ)
def revoke(visit: Visit, grant_id: str) -> HttpResponse:
    """Take one grant back. Its operation leaves the event of a refusal."""
    require_grant(visit, grant_id)
    comment = text(visit, "comment")

    def work(ticket: Ticket) -> Told:
        operations.revoke(
            principal=stepped_up(visit).principal,
            grant_id=grant_id,
            comment=comment,
            now=visit.now,
            ticket=ticket,
            render=lambda grant: {"sentence": REVOKED},
        )
        return Told(REVOKED, object_id=grant_id)

    told = once(visit, route=f"grants/{grant_id}/revoke", fields={"comment": comment}, work=work)
    if isinstance(told.refusal, NotFoundError):
        raise told.refusal
    if not told.is_done:
        return shown(visit, grant_id, Answered("revoke", told))
    notify(visit, told)
    return redirect("admin:grant", grant_id=grant_id)


@verb(REVOKE, sees=READ)
def revoke_ticked(visit: Visit) -> HttpResponse:
    """Take the ticked grants back, each by itself."""
    ids, comment = ticked_ids(visit, "grant", "grt"), text(visit, "comment")

    def work(_: Ticket) -> Told:
        checked_comment(comment, required=True)
        who = stepped_up(visit).principal
        return Told(
            each_of(
                ids,
                "/grant",
                lambda one: operations.revoke(principal=who, grant_id=one, comment=comment, now=visit.now),
                "revoked",
            )
        )

    told = once(visit, route="grants/revoke", fields={"grant": ids, "comment": comment}, work=work)
    if not told.is_done:
        return listed(visit, Answered("bulk", told))
    notify(visit, told)
    return redirect("admin:grants")


@verb(REVOKE, sees=READ)
def forget_ticked(visit: Visit) -> HttpResponse:
    """Let what was denied be asked about again, each by itself."""
    ids, comment = ticked_ids(visit, "denial", "dnl"), text(visit, "comment")

    def work(_: Ticket) -> Told:
        checked_comment(comment, required=True)
        who = stepped_up(visit).principal
        return Told(
            each_of(
                ids,
                "/denial",
                lambda one: operations.forget(principal=who, denial_id=one, comment=comment, now=visit.now),
                "forgotten",
            )
        )

    told = once(visit, route="denials/forget", fields={"denial": ids, "comment": comment}, work=work)
    if not told.is_done:
        return denials_listed(visit, Answered("bulk", told))
    notify(visit, told)
    return redirect("admin:denials")
