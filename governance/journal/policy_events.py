"""The fields of the events about policy sets."""

from __future__ import annotations

from governance.journal.event_names import EventName as E
from governance.journal.event_register import event


@event(E.POLICY_DRAFTED)
class PolicyDrafted:
    """`source` is the `pol_` id the text came from, `import`, `shipped` or empty; `base` was in force."""

    version: int
    domain: str
    source: str
    base: str | None


@event(E.POLICY_EDITED)
class PolicyEdited:
    """`change` is file_put, file_removed or described. `sha256` is the digest of the text put."""

    version: int
    domain: str
    change: str
    file: str
    sha256: str


@event(E.POLICY_VALIDATED, E.POLICY_SUPERSEDED)
class PolicySetMoved:
    version: int
    hash: str
    domain: str


@event(E.POLICY_DISCARDED)
class PolicyDiscarded:
    version: int
    domain: str


@event(E.POLICY_ACTIVATED)
class PolicyActivated:
    """`previous` was in force before. `simulation` and `loosened` are what was acknowledged, if anything.

    `request` is the approval by which a second person let it happen.
    """

    version: int
    hash: str
    domain: str
    previous: str | None
    reason: str
    simulation: int | None
    loosened: int | None
    request: str | None
    single_operator: bool


@event(E.POLICY_ROLLED_BACK)
class PolicyRolledBack:
    """`restored` is the earlier set whose text is in force again, `left` the one that was."""

    version: int
    hash: str
    domain: str
    restored: str
    left: str
    reason: str
    request: str | None
    single_operator: bool


@event(E.POLICY_BASELINE_RESTORED)
class PolicyBaselineRestored:
    version: int
    hash: str
    domain: str
    left: str | None
    reason: str


@event(E.POLICY_ACTIVATION_REFUSED)
class PolicyActivationRefused:
    """`hash` is that of the set that was to come into force, `in_force` of the one that stays."""

    code: str
    hash: str
    in_force: str
    request: str | None


@event(E.POSTURE_SCOPE_RESET, E.POSTURE_PRESET_APPLIED, E.POSTURE_UNDONE)
class PosturesMoved:
    """`changes` lists tool, state before and state after; an empty state is no row."""

    scope_kind: str
    scope_id: str
    source: str
    reason: str
    undoes: str | None
    changes: list[list[str]]


@event(E.RECOMMENDATION_ACCEPTED, E.RECOMMENDATION_DISMISSED, E.RECOMMENDATION_DEFERRED)
class RecommendationAnswered:
    recommendation: str
    tool: str
    scope_kind: str
    scope_id: str
    before: str
    after: str
    until: str | None
    reason: str


@event(E.POLICY_REVALIDATED)
class PolicyRevalidated:
    """A call that one set let pass was refused at its claim by the rules in force then: both hashes."""

    code: str
    decided_by: str
    refused_by: str
