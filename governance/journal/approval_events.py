"""The fields of the events about grants, remembered answers and freezes."""

from __future__ import annotations

from governance.journal.event_names import EventName as E
from governance.journal.event_register import event


@event(E.GRANT_EXPIRED)
class GrantExpired:
    scope: str
    uses: int


@event(E.GRANT_EXPIRING)
class GrantExpiring:
    """A lasting grant ends soon; `owner` stands behind its principal."""

    principal: str
    owner: str
    tool: str
    expires_at: str


@event(E.GRANT_REVOKED)
class GrantRevoked:
    scope: str
    uses: int
    comment: str


@event(E.GRANT_LOOKUP_EXCEEDED)
class GrantLookupExceeded:
    """More grants might cover a call than are searched, so none was used. Somebody makes too many."""

    principal: str
    tool: str
    searched: int


@event(E.APPROVAL_EDITED)
class ApprovalEdited:
    """A person changed what a call does: `new_call` takes the place of `call`, and waits on `request`."""

    request: str | None
    call: str
    new_call: str
    action_digest: str
    comment: str
    surface: str


@event(E.BUDGET_RAISED)
class BudgetRaised:
    """People let a run have more of a metric than it was opened with."""

    request: str
    metric: str
    before: int
    after: int


@event(E.TOOL_CALL_SUPERSEDED, E.TOOL_CALL_PROPOSED_AGAIN)
class CallSuperseded:
    by: str
    action_digest: str


@event(E.APPROVAL_REVALIDATED)
class ApprovalRevalidated:
    """A call runs under another policy set than people allowed it under, which asks for no more."""

    grant: str | None
    allowed_under: str
    in_force: str


@event(E.APPROVAL_DENIAL_FORGOTTEN)
class DenialForgotten:
    denial: str
    principal: str
    action_digest: str
    would_expire_at: str
    comment: str


@event(E.FREEZE_SET)
class FreezeSet:
    scope: str
    scope_id: str
    workspace: str
    reason: str
    kill_running: bool


@event(E.FREEZE_LIFTED)
class FreezeLifted:
    scope: str
    scope_id: str
    workspace: str
    reason: str
    single_operator: bool


@event(E.FREEZE_LIFT_REQUESTED)
class FreezeLiftRequested:
    reason: str


@event(E.RUN_FROZEN)
class RunFrozen:
    """A freeze hit a run: so many queued calls were refused, so many running ones are being killed."""

    scope: str
    refused: int
    stopping: int


@event(E.RUN_UNFROZEN)
class RunUnfrozen:
    scope: str


@event(E.APPROVAL_BREAK_GLASS)
class GlassBroken:
    """Somebody allowed alone in an emergency what `quorum` people should have."""

    review: str
    due_at: str
    quorum: int


@event(E.APPROVAL_BREAK_GLASS_REVIEWED)
class GlassReviewed:
    review: str
    finding: str
    comment: str


@event(E.SYSTEM_CLOCK_STEPPED)
class ClockStepped:
    """The clock stands behind the journal. Until it has caught up, expiry counts by the journal's time."""

    newest: str
    behind_ms: int
