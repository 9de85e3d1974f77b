"""The page on which a second person lets something be erased, and the pages of what was."""

from __future__ import annotations

import pytest

from approvals.models import ApprovalRequest
from governance.journal.models import JournalEvent
from governance.operations import runs
from governance.operations.erasing import ask_to_erase
from governance.selectors import CallView
from identity.models import User, Workspace
from identity.roles import WorkspaceRole
from kernel.clock import utc_now
from tests.cast import enrol, make_user, principal
from tests.governance.admin.test_deciding import Form
from tests.governance.admin.world import World, code_now, principal_of, sign_in, write_file

HOSTILE = '<script>alert("x")</script>'


@pytest.fixture
def view(world: World) -> CallView:
    """A call that was asked about and ended with its run."""
    found = write_file(world.agent, content="Erika Mustermann")
    runs.cancel_run(
        run_id=found.call.run_id, principal=principal_of(world.agent), reason="done", now=utc_now()
    )
    return found


def asked(world: World, view: CallView) -> tuple[ApprovalRequest, User]:
    """Have the owner of the installation ask; return the request and another owner."""
    instance, now = Workspace.objects.get(slug="instance"), utc_now()
    other = make_user("other-owner", WorkspaceRole.OWNER, workspace=instance)
    enrol(other)
    request = ask_to_erase(
        principal=principal(world.owner, instance, now=now),
        subject=view.call.run_id,
        reason=f"request 4711 {HOSTILE}",
        now=now,
    )
    return request, other


def test_a_second_person_sees_what_goes_and_lets_it_go(world: World, view: CallView) -> None:
    request, other = asked(world, view)
    form = Form(sign_in(other), request.pk)
    for text in ("wants to erase", view.call.run_id, "request 4711", "becomes unreadable", "Backups"):
        assert text in form.html
    assert "<script>alert" not in form.html
    page = form.send(comment="seen the letter", code=code_now())
    assert "Allowed. It is erased." in page
    assert JournalEvent.objects.filter(type="journal.subject_erased", subject=view.call.run_id).exists()
    client = sign_in(other)
    for address in (
        f"calls/{view.call.pk}/", f"runs/{view.call.run_id}/", f"approvals/{view.call.approval_id}/",
        "approvals/", "calls/", "runs/",
    ):  # fmt: skip
        shown = client.get(f"/admin/{address}")
        assert shown.status_code == 200, address
        assert b"Erika" not in shown.content, address


def test_who_asked_reads_that_somebody_else_answers(world: World, view: CallView) -> None:
    request, _ = asked(world, view)
    form = Form(sign_in(world.owner), request.pk)
    assert "You asked for this yourself; another approver must decide." in form.html
    assert form.send(comment="seen the letter", code=code_now())
    assert ApprovalRequest.objects.get(pk=request.pk).status == "pending"
