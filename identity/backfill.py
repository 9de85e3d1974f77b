"""What an upgrade or a hand in the database leaves behind: found, and put right where that is safe.

Missing flags are written down at their defaults and limits are brought back into their range. Rows that
point at what is gone are reported only: whoever reads the report decides.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime

from django.db.models import F, Q, QuerySet

from identity.access import FEATURES, FlagSetting
from identity.flags import setting_of
from identity.lifecycle import AgentState
from identity.models import (
    Agent,
    ApiToken,
    FeatureFlag,
    Invitation,
    Membership,
    ResourceShare,
    Workspace,
)
from identity.rollout import stand_at
from kernel.record import Actor, Record

LOWEST_RATE, HIGHEST_RATE = 10, 10_000
CLAMPED_REASON = "Brought back into its range by the backfill."
MISSING_REASON = "Written down at its default by the backfill."


@dataclass(frozen=True, slots=True)
class Orphan:
    """A row that points at what is gone, and why it means nothing any more."""

    kind: str
    id: str
    why: str


@dataclass(frozen=True, slots=True)
class Backfill:
    """What was missing, out of range, and orphaned, by key or id."""

    missing_flags: tuple[str, ...]
    clamped_flags: tuple[str, ...]
    clamped_tokens: tuple[str, ...]
    orphans: tuple[Orphan, ...]

    @property
    def has_work(self) -> bool:
        return bool(self.missing_flags or self.clamped_flags or self.clamped_tokens)


def survey(now: datetime) -> Backfill:
    """Return what a backfill would do and report. Writes nothing."""
    rows = {row.key: row for row in FeatureFlag.objects.all()}
    return Backfill(
        missing_flags=tuple(key for key in FEATURES if key not in rows),
        clamped_flags=tuple(key for key, row in sorted(rows.items()) if not 0 <= row.percent <= 100),
        clamped_tokens=tuple(_odd_rates().values_list("pk", flat=True)),
        orphans=tuple(_orphans(rows, now)),
    )


def backfill(*, actor: Actor, now: datetime, record: Record) -> Backfill:
    """Do what `survey` found and return it. Doing it again finds no work and leaves no event."""
    found = survey(now)
    for key in found.missing_flags:
        feature = FEATURES[key]
        default = FlagSetting(feature.enabled, feature.stage)
        stand_at(key=key, setting=default, reason=MISSING_REASON, actor=actor, now=now, record=record)
    for row in FeatureFlag.objects.filter(pk__in=found.clamped_flags, key__in=FEATURES):
        clamped = replace(setting_of(row), percent=min(max(row.percent, 0), 100))
        stand_at(key=row.key, setting=clamped, reason=CLAMPED_REASON, actor=actor, now=now, record=record)
    _clamp_rates(found.clamped_tokens)
    if found.has_work:
        record(
            event="access.backfilled",
            actor=actor,
            subject="access",
            now=now,
            data={
                "missing_flags": list(found.missing_flags),
                "clamped_flags": list(found.clamped_flags),
                "clamped_rates": list(found.clamped_tokens),
            },
        )
    return found


def _odd_rates() -> QuerySet[ApiToken]:
    return ApiToken.objects.exclude(rate_per_minute__range=(LOWEST_RATE, HIGHEST_RATE)).order_by("pk")


def _clamp_rates(token_ids: Sequence[str]) -> None:
    for token in ApiToken.objects.select_for_update().filter(pk__in=token_ids):
        token.rate_per_minute = min(max(token.rate_per_minute, LOWEST_RATE), HIGHEST_RATE)
        token.save(update_fields=["rate_per_minute"])


def _orphans(flags: Mapping[str, FeatureFlag], now: datetime) -> Iterator[Orphan]:
    yield from _flag_orphans(flags)
    yield from _token_orphans(now)
    yield from _membership_orphans()
    yield from _share_orphans()


def _flag_orphans(flags: Mapping[str, FeatureFlag]) -> Iterator[Orphan]:
    live = set(Workspace.objects.filter(archived_at__isnull=True).values_list("pk", flat=True))
    for key, row in sorted(flags.items()):
        if key not in FEATURES:
            yield Orphan("flag", key, "no part of the product asks for it")
        for one in sorted(setting_of(row).workspaces - live):
            yield Orphan("flag", key, f"its pilot names {one}, which is archived or does not exist")


def _token_orphans(now: datetime) -> Iterator[Orphan]:
    live = ApiToken.objects.filter(revoked_at__isnull=True, expires_at__gt=now).order_by("pk")
    for condition, why in (
        (Q(principal_agent__state=AgentState.ARCHIVED), "its agent is archived"),
        (Q(principal_user__is_active=False), "its person is disabled"),
        (Q(principal_agent__owner__is_active=False), "the owner of its agent is disabled"),
        (Q(workspace__archived_at__isnull=False), "its workspace is archived"),
    ):
        for token_id in live.filter(condition).values_list("pk", flat=True):
            yield Orphan("token", token_id, why)


def _membership_orphans() -> Iterator[Orphan]:
    rows = Membership.objects.order_by("pk")
    for condition, why in (
        (Q(user__is_active=False), "its person is disabled"),
        (Q(workspace__archived_at__isnull=False), "its workspace is archived"),
        (Q(team__isnull=False, team__members__isnull=True), "its team is empty"),
        (Q(team__isnull=False) & ~Q(team__workspace=F("workspace")), "its team is of another workspace"),
    ):
        for membership_id in rows.filter(condition).values_list("pk", flat=True):
            yield Orphan("membership", membership_id, why)
    pending = Invitation.objects.filter(accepted_at__isnull=True, revoked_at__isnull=True)
    for invitation_id in pending.filter(workspace__archived_at__isnull=False).values_list("pk", flat=True):
        yield Orphan("invitation", invitation_id, "its workspace is archived")


def _share_orphans() -> Iterator[Orphan]:
    in_use = Agent.objects.exclude(state=AgentState.ARCHIVED).values("pk")
    shares = ResourceShare.objects.order_by("pk")
    for share_id in shares.filter(workspace__archived_at__isnull=False).values_list("pk", flat=True):
        yield Orphan("share", share_id, "its workspace is archived")
    lost = shares.filter(resource_kind="agent").exclude(resource_id__in=in_use)
    for share_id in lost.values_list("pk", flat=True):
        yield Orphan("share", share_id, "its agent is archived or does not exist")
