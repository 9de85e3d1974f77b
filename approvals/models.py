"""Columns and constraints of approvals. `services.py` writes, `selectors.py` reads."""

from __future__ import annotations

import json
from enum import StrEnum
from typing import Any

from django.db import models
from django.db.models import F, Q

from approvals.types import (
    GrantStatus,
    RequestStatus,
    ReviewFinding,
    Risk,
    Scope,
    SubjectType,
    Verdict,
)


def _choices(values: type[StrEnum]) -> list[tuple[str, str]]:
    return [(value.value, value.value) for value in values]


class ApprovalRequest(models.Model):
    """One question about one action, bound to its digest.

    `requester_owner_id` is the human behind the requester, `minter_id` the person who minted the token
    it came with, `parties` everybody else who had a part in it, id to relation. `policy_stamp` is the
    epoch at which policy was last asked whether it still permits this. `context_text` is canonical JSON.
    `seen_at` is when an eligible person first opened it.
    """

    id = models.CharField(primary_key=True, max_length=40)
    status = models.CharField(max_length=16, choices=_choices(RequestStatus), default=RequestStatus.PENDING)
    close_code = models.CharField(max_length=32, blank=True)
    version = models.PositiveIntegerField(default=1)
    subject_type = models.CharField(max_length=32, choices=_choices(SubjectType))
    subject_id = models.CharField(max_length=40)
    subject_label = models.CharField(max_length=200)
    action_digest = models.CharField(max_length=71)
    policy_set_hash = models.CharField(max_length=71)
    tool_definition_hash = models.CharField(max_length=71, null=True)
    obligations = models.JSONField()
    obligations_digest = models.CharField(max_length=71)
    requester_kind = models.CharField(max_length=16)
    requester_id = models.CharField(max_length=40)
    requester_owner_id = models.CharField(max_length=40)
    minter_id = models.CharField(max_length=40, blank=True)
    parties = models.JSONField(default=dict)
    on_behalf_of_id = models.CharField(max_length=40, blank=True)
    workspace_id = models.CharField(max_length=40)
    run_id = models.CharField(max_length=40, blank=True)
    session_id = models.CharField(max_length=40, blank=True)
    device_id = models.CharField(max_length=40, blank=True)
    channel = models.CharField(max_length=80, blank=True)
    tool = models.CharField(max_length=160, blank=True)
    skill_id = models.CharField(max_length=160, blank=True)
    skill_digest = models.CharField(max_length=71, blank=True)
    sas = models.CharField(max_length=16, blank=True)
    edited_from_id = models.CharField(max_length=40, blank=True)
    edited_by_id = models.CharField(max_length=40, blank=True)
    resume = models.JSONField(default=dict)
    break_glass = models.BooleanField(default=False)
    policy_stamp = models.CharField(max_length=64, blank=True)
    context_text = models.TextField()
    risk = models.CharField(max_length=16, choices=_choices(Risk))
    quorum = models.PositiveSmallIntegerField()
    requested_at = models.DateTimeField()
    expires_at = models.DateTimeField()
    resolved_at = models.DateTimeField(null=True)
    seen_at = models.DateTimeField(null=True)
    reminded_at = models.DateTimeField(null=True)

    class Meta:
        constraints = (
            models.CheckConstraint(
                condition=Q(expires_at__gt=F("requested_at")), name="approval_expires_later"
            ),
            models.CheckConstraint(
                condition=Q(status="pending", resolved_at__isnull=True)
                | (~Q(status="pending") & Q(resolved_at__isnull=False)),
                name="approval_resolved_iff_closed",
            ),
            models.CheckConstraint(condition=Q(quorum__gte=1, quorum__lte=5), name="approval_quorum_1_to_5"),
            models.UniqueConstraint(
                fields=("requester_id", "action_digest", "run_id"),
                condition=Q(status="pending"),
                name="approval_one_pending",
            ),
        )
        indexes = (
            models.Index(fields=("status", "expires_at"), name="approval_due"),
            models.Index(fields=("status", "risk", "requested_at"), name="approval_inbox"),
            models.Index(fields=("run_id",), name="approval_by_run"),
            models.Index(fields=("requester_id", "subject_label", "-requested_at"), name="approval_history"),
            models.Index(fields=("action_digest",), name="approval_by_digest"),
        )

    def __str__(self) -> str:
        return f"{self.subject_label} ({self.status})"

    @property
    def context(self) -> dict[str, Any]:
        """What the approver sees."""
        loaded: dict[str, Any] = json.loads(self.context_text)
        return loaded


class Grant(models.Model):
    """What an allowed request opened, and how much of it is used up.

    What its scope holds fixed is compared, also where it is empty (`approvals.matching`). `pattern` holds
    the constraints an approver read; `rest_digest` is over the parameters that no constraint names, which
    must stay equal.
    """

    id = models.CharField(primary_key=True, max_length=40)
    status = models.CharField(max_length=16, choices=_choices(GrantStatus), default=GrantStatus.ACTIVE)
    request = models.ForeignKey(ApprovalRequest, models.PROTECT, related_name="grants")
    scope = models.CharField(max_length=16, choices=_choices(Scope))
    subject_type = models.CharField(max_length=32)
    subject_label = models.CharField(max_length=200)
    action_digest = models.CharField(max_length=71)
    tool_definition_hash = models.CharField(max_length=71, null=True)
    obligations_digest = models.CharField(max_length=71)
    policy_set_hash = models.CharField(max_length=71)
    principal_id = models.CharField(max_length=40)
    workspace_id = models.CharField(max_length=40)
    tool = models.CharField(max_length=160, blank=True)
    device_id = models.CharField(max_length=40, blank=True)
    channel = models.CharField(max_length=80, blank=True)
    session_id = models.CharField(max_length=40, blank=True)
    run_id = models.CharField(max_length=40, blank=True)
    skill_id = models.CharField(max_length=160, blank=True)
    skill_digest = models.CharField(max_length=71, blank=True)
    tier_floor = models.CharField(max_length=8, blank=True)
    egress_mode = models.CharField(max_length=16, blank=True)
    pattern = models.JSONField()
    pattern_digest = models.CharField(max_length=71)
    rest_digest = models.CharField(max_length=71)
    breadth = models.PositiveSmallIntegerField(default=0)
    risk_ceiling = models.CharField(max_length=16, choices=_choices(Risk))
    uses_allowed = models.PositiveIntegerField(null=True)
    uses = models.PositiveIntegerField(default=0)
    not_before = models.DateTimeField()
    expires_at = models.DateTimeField()
    created_at = models.DateTimeField()
    reminded_at = models.DateTimeField(null=True)
    revoked_by = models.CharField(max_length=40, blank=True)
    revoked_at = models.DateTimeField(null=True)
    revoke_reason = models.CharField(max_length=2000, blank=True)

    class Meta:
        constraints = (
            models.CheckConstraint(
                condition=Q(uses_allowed__isnull=True) | Q(uses__lte=F("uses_allowed")),
                name="grant_uses_within_allowed",
            ),
            models.CheckConstraint(condition=Q(expires_at__gt=F("not_before")), name="grant_expires_later"),
        )
        indexes = (
            # With the end, as what is due has it: SQLite would read every active grant by that otherwise.
            models.Index(
                fields=("status", "subject_type", "tool", "principal_id", "expires_at"), name="grant_lookup"
            ),
            models.Index(fields=("status", "expires_at"), name="grant_due"),
        )

    def __str__(self) -> str:
        return f"{self.scope} grant of {self.subject_label}"


class ApprovalCall(models.Model):
    """A call that waits on a request. `version` is the request's version that first counted it."""

    request = models.ForeignKey(ApprovalRequest, models.PROTECT, related_name="calls")
    call_id = models.CharField(max_length=40, unique=True)
    attached_at = models.DateTimeField()
    position = models.PositiveIntegerField()
    version = models.PositiveIntegerField()
    grant = models.ForeignKey(Grant, models.PROTECT, null=True, related_name="calls")

    class Meta:
        constraints = (
            models.UniqueConstraint(fields=("request", "position"), name="approval_call_position"),
        )

    def __str__(self) -> str:
        return f"{self.call_id} waits on {self.request_id}"


class Review(models.Model):
    """One person's answer. Append-only by triggers."""

    id = models.BigAutoField(primary_key=True)
    request = models.ForeignKey(ApprovalRequest, models.PROTECT, related_name="reviews")
    reviewer_id = models.CharField(max_length=40)
    verdict = models.CharField(max_length=8, choices=_choices(Verdict))
    scope = models.CharField(max_length=16, blank=True)
    ttl_ms = models.BigIntegerField(null=True)
    pattern = models.JSONField(null=True)
    break_glass = models.BooleanField(default=False)
    comment = models.CharField(max_length=2000, blank=True)
    surface = models.CharField(max_length=16)
    auth_method = models.CharField(max_length=16)
    step_up_at = models.DateTimeField(null=True)
    seen_version = models.PositiveIntegerField(null=True)
    roles = models.JSONField()
    single_operator = models.BooleanField()
    ip_digest = models.CharField(max_length=64)
    created_at = models.DateTimeField()

    class Meta:
        constraints = (
            models.UniqueConstraint(fields=("request", "reviewer_id"), name="review_one_per_person"),
        )

    def __str__(self) -> str:
        return f"{self.verdict} by {self.reviewer_id}"


class GrantUse(models.Model):
    """One use of a grant by one call."""

    grant = models.ForeignKey(Grant, models.PROTECT, related_name="used")
    call_id = models.CharField(max_length=40, unique=True)
    execution_id = models.CharField(max_length=40)
    used_at = models.DateTimeField()

    def __str__(self) -> str:
        return f"{self.call_id} used {self.grant_id}"


class DenialMemory(models.Model):
    """A person's no to one action of one principal; the same action is denied until `expires_at`."""

    id = models.CharField(primary_key=True, max_length=40)
    principal_id = models.CharField(max_length=40)
    action_digest = models.CharField(max_length=71)
    request = models.ForeignKey(ApprovalRequest, models.PROTECT, related_name="denials")
    created_at = models.DateTimeField()
    expires_at = models.DateTimeField()

    class Meta:
        constraints = (
            models.UniqueConstraint(fields=("principal_id", "action_digest"), name="denial_one_per_action"),
        )
        indexes = (models.Index(fields=("expires_at",), name="denial_due"),)

    def __str__(self) -> str:
        return f"no to {self.action_digest} of {self.principal_id}"


class BreakGlassReview(models.Model):
    """What somebody else has to say, until `due_at`, about a decision made alone in an emergency."""

    id = models.CharField(primary_key=True, max_length=40)
    request = models.OneToOneField(ApprovalRequest, models.PROTECT, related_name="break_glass_review")
    by = models.CharField(max_length=40)
    created_at = models.DateTimeField()
    due_at = models.DateTimeField()
    reviewed_by = models.CharField(max_length=40, blank=True)
    reviewed_at = models.DateTimeField(null=True)
    finding = models.CharField(max_length=16, blank=True, choices=_choices(ReviewFinding))
    comment = models.CharField(max_length=2000, blank=True)

    class Meta:
        constraints = (
            models.CheckConstraint(
                condition=Q(reviewed_by="", reviewed_at__isnull=True, finding="")
                | (~Q(reviewed_by="") & Q(reviewed_at__isnull=False) & ~Q(finding="")),
                name="break_glass_reviewed_whole",
            ),
            models.CheckConstraint(condition=~Q(reviewed_by=F("by")), name="break_glass_by_another"),
        )
        indexes = (models.Index(fields=("by", "due_at"), name="break_glass_due"),)

    def __str__(self) -> str:
        return f"break-glass of {self.request_id} by {self.by}"
