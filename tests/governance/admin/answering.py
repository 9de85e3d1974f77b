"""Answers as the tests of pages need them: given by people through the pipeline, without a browser."""

from __future__ import annotations

from typing import Any

from approvals.models import DenialMemory, Grant
from approvals.types import ReviewInput
from governance import pipeline
from governance.selectors import CallView
from identity.models import User
from identity.types import AuthStrength, Principal
from kernel.clock import utc_now
from tests.cast import principal
from tests.governance.admin.world import World


def acting(world: World, person: User) -> Principal:
    """Return a person as the console knows them right after a code."""
    return principal(person, world.workspace, strength=AuthStrength.FRESH_MFA, now=utc_now())


def answered(world: World, view: CallView, by: User | None = None, **answer: Any) -> None:
    """Answer the request of a call, by the approver unless somebody else is named, with a fresh code."""
    now = utc_now()
    given: dict[str, Any] = {
        "verdict": "allow",
        "comment": "for the test",
        "otp_verified_at": now,
        "surface": "console",
        **answer,
    }
    pipeline.review(
        request_id=view.call.approval_id or "",
        principal=acting(world, by or world.approver),
        answer=ReviewInput(**given),
        now=now,
    )


def granted(world: World, view: CallView, scope: str = "session", **answer: Any) -> Grant:
    answered(world, view, scope=scope, **answer)
    return Grant.objects.get(request_id=view.call.approval_id)


def denied(world: World, view: CallView) -> DenialMemory:
    answered(world, view, verdict="deny", comment="not this one")
    return DenialMemory.objects.get(request_id=view.call.approval_id)
