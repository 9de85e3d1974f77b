"""Decisions over stored rows: each reason, and every way the rows can be missing."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta

import pytest
from django.db import DatabaseError, connection, transaction

from identity.models import Agent, User
from identity.roles import Permission
from policy import runtime
from policy.epoch import raise_epoch
from policy.lifecycle import SetState
from policy.models import PolicyEpoch, PolicyFile, PolicySet, Tool
from policy.selectors import has_active_set, posture, tool_named
from policy.services import (
    OverrideInput,
    allowlist,
    decide,
    permit_governance,
    remove_from_allowlist,
    set_posture,
)
from policy.types import ApprovalFacts, DecisionFacts, Effect, EntityRef
from tests.builders import RecordedEvents
from tests.cast import NOW, SYSTEM, Cast, principal

pytestmark = pytest.mark.django_db


def facts(cast: Cast, tool: str, tool_input: dict[str, object]) -> DecisionFacts:
    known = tool_named(tool)
    assert known is not None
    return DecisionFacts(
        principal_kind="agent",
        principal_id=cast.agent.pk,
        workspace_id=cast.default.pk,
        action="tool.execute",
        resource=EntityRef("Tool", tool),
        tool=known,
        skill=None,
        input=tool_input,
        posture=posture(
            tool=known,
            default_requires_approval=known.requires_approval,
            tool_name=tool,
            workspace_id=cast.default.pk,
            agent_id=cast.agent.pk,
            session_id=None,
            locks=(),
            now=NOW,
        ),
        run_id="run_1",
        session_id="ses_1",
        device_id=None,
        channel=None,
        calls_in_run=1,
        auth_method="token",
        source_ip="127.0.0.1",
        external_execution=False,
        approval=None,
        now=NOW,
    )


def echo(cast: Cast) -> DecisionFacts:
    return facts(cast, "echo", {"text": "hello"})


def write(cast: Cast) -> DecisionFacts:
    return facts(cast, "fs.write", {"path": "a.md", "content": "x"})


def allow(cast: Cast, kind: str, value: str) -> None:
    with transaction.atomic():
        allowlist(
            workspace_id=cast.default.pk,
            kind=kind,
            value=value,
            actor=SYSTEM,
            now=NOW,
            record=RecordedEvents(),
        )


def test_fresh_instance_allows_asks_and_names_its_set(cast: Cast) -> None:
    allowed, asked = decide(facts=echo(cast)), decide(facts=write(cast))
    assert (allowed.effect, asked.effect) == (Effect.ALLOW, Effect.REQUIRE_APPROVAL)
    active = PolicySet.objects.get(state=SetState.ACTIVE)
    assert (allowed.explanation.policy_set.id, allowed.explanation.policy_set.version) == (active.pk, 1)
    assert allowed.explanation.policy_set.hash == active.hash
    assert allowed.explanation.catalog_digest.startswith("sha256:")


def test_approval_clears_the_obligation(cast: Cast) -> None:
    approval = ApprovalFacts("apr_1", "once", "high", 1, frozenset({"approver"}), frozenset({"usr_a"}))
    assert decide(facts=replace(write(cast), approval=approval)).effect is Effect.ALLOW


def test_explicit_posture_counts_and_the_default_one_does_not(cast: Cast) -> None:
    with transaction.atomic():
        set_posture(
            override=OverrideInput(
                tool="fs.write",
                scope_kind="agent",
                scope_id=cast.agent.pk,
                state="always_allow",
                reason="notes only",
                expires_at=NOW + timedelta(days=30),
                otp_verified_at=NOW,
            ),
            actor=SYSTEM,
            now=NOW,
            record=RecordedEvents(),
        )
    assert decide(facts=write(cast)).effect is Effect.ALLOW


def test_posture_never_frees_a_critical_tool(cast: Cast) -> None:
    base = write(cast)
    assert base.tool is not None
    assert base.posture is not None
    free = replace(base.posture, state="always_allow", explicit=True)
    critical = replace(base, tool=replace(base.tool, risk="critical"), posture=free)
    assert decide(facts=critical).effect is Effect.REQUIRE_APPROVAL


@pytest.mark.parametrize(
    ("kind", "identifier"),
    [
        ("agent", "agt_nobody"),
        ("agent", "a\0b"),
        ("device", "dev_1"),
        ("service", "x"),
        ("martian", "x"),
        ("user", ""),
    ],
)
def test_unknown_principals_are_refused(cast: Cast, kind: str, identifier: str) -> None:
    unknown = replace(echo(cast), principal_kind=kind, principal_id=identifier)
    decision = decide(facts=unknown)
    assert (decision.effect, decision.reason_code) == (Effect.DENY, "policy.invalid_request")


def test_suspended_agent_and_agent_of_a_disabled_person_are_denied(cast: Cast) -> None:
    Agent.objects.filter(pk=cast.agent.pk).update(state="suspended")
    assert decide(facts=echo(cast)).reason_code == "policy.denied"
    Agent.objects.filter(pk=cast.agent.pk).update(state="active")
    assert decide(facts=echo(cast)).effect is Effect.ALLOW
    User.objects.filter(pk=cast.agent_owner.pk).update(is_active=False)
    assert decide(facts=echo(cast)).reason_code == "policy.denied"


def test_lists_change_the_very_next_decision(cast: Cast) -> None:
    assert decide(facts=echo(cast)).effect is Effect.ALLOW
    allow(cast, "tool_execute_principal", "agt_other")
    assert decide(facts=echo(cast)).reason_code == "policy.principal_not_allowlisted"
    allow(cast, "tool_execute_principal", cast.agent.pk)
    allow(cast, "tool_execute_channel", "ops")
    assert decide(facts=echo(cast)).reason_code == "policy.channel_not_allowlisted"
    assert decide(facts=replace(echo(cast), channel="ops")).effect is Effect.ALLOW


def test_tool_taken_off_the_list_is_denied(cast: Cast) -> None:
    with transaction.atomic():
        remove_from_allowlist(
            workspace_id=cast.default.pk,
            kind="tool",
            value="echo",
            actor=SYSTEM,
            now=NOW,
            record=RecordedEvents(),
        )
    assert decide(facts=echo(cast)).reason_code == "policy.tool_not_allowlisted"


def test_change_that_is_rolled_back_changes_no_decision(cast: Cast) -> None:
    class UndoError(Exception):
        pass

    with pytest.raises(UndoError), transaction.atomic():  # noqa: PT012  # the block is the transaction
        allow(cast, "tool_execute_channel", "ops")
        assert decide(facts=echo(cast)).effect is Effect.DENY
        raise UndoError
    assert decide(facts=echo(cast)).effect is Effect.ALLOW


def test_lists_of_one_workspace_mean_nothing_in_another(cast: Cast) -> None:
    foreign = replace(echo(cast), workspace_id=cast.instance.pk)
    assert decide(facts=foreign).effect is Effect.DENY


def test_without_an_active_set_everything_is_denied(cast: Cast) -> None:
    base = echo(cast)
    PolicySet.objects.update(state=SetState.SUPERSEDED)
    raise_epoch()
    assert decide(facts=base).reason_code == "policy.no_active_set"
    assert not has_active_set()


def test_without_an_epoch_everything_is_denied(cast: Cast) -> None:
    base = echo(cast)
    PolicyEpoch.objects.all().delete()
    decision = decide(facts=base)
    assert (decision.effect, decision.reason_code) == (Effect.DENY, "policy.no_active_set")
    assert not has_active_set()


def test_set_that_does_not_compile_denies_and_never_falls_back(cast: Cast) -> None:
    base = echo(cast)
    assert decide(facts=base).effect is Effect.ALLOW
    old = PolicySet.objects.get(state=SetState.ACTIVE)
    broken = PolicySet.objects.create(id="pol_2", version=2, title="broken", created_at=NOW)
    PolicyFile.objects.create(policy_set=broken, name="a.cedar", text="permit (principal", position=0)
    PolicySet.objects.filter(pk=old.pk).update(state=SetState.SUPERSEDED)
    PolicySet.objects.filter(pk="pol_2").update(state=SetState.ACTIVE, hash="sha256:b")
    raise_epoch()
    assert decide(facts=base).reason_code == "policy.no_active_set"


def test_unreadable_tables_deny_without_breaking_the_transaction(
    cast: Cast, monkeypatch: pytest.MonkeyPatch
) -> None:
    base = echo(cast)

    def unreadable() -> None:
        with connection.cursor() as cursor:
            cursor.execute("SELECT * FROM no_such_table")

    monkeypatch.setattr(runtime, "epoch_stamp", unreadable)
    with transaction.atomic():
        assert decide(facts=base).reason_code == "policy.no_active_set"
        assert Tool.objects.exists()


def test_posture_that_cannot_be_read_is_disabled(cast: Cast, monkeypatch: pytest.MonkeyPatch) -> None:
    def unreadable(_: str) -> None:
        raise DatabaseError("gone")

    monkeypatch.setattr("policy.selectors._overrides", unreadable)
    found = echo(cast).posture
    assert found is not None
    assert (found.state, found.reason_code, found.editable) == ("disabled", "posture.unavailable", False)


def test_facts_that_no_rule_can_judge_deny(cast: Cast) -> None:
    assert decide(facts=replace(echo(cast), source_ip="nowhere")).reason_code == "policy.invalid_context"
    odd = replace(echo(cast), resource=EntityRef("Tool", "sleep"))
    assert decide(facts=odd).reason_code == "policy.resource_mismatch"


def test_person_with_the_permission_governs_and_others_do_not(cast: Cast) -> None:
    resource = EntityRef("Workspace", cast.default.pk)

    def asked(user: User) -> tuple[Effect, str]:
        decision = permit_governance(
            principal=principal(user, cast.default),
            permission=Permission.APPROVALS_DECIDE,
            resource=resource,
            workspace_id=cast.default.pk,
            now=NOW,
        )
        return decision.effect, decision.reason_code

    assert asked(cast.approver) == (Effect.ALLOW, "policy.allowed")
    assert asked(cast.owner) == (Effect.ALLOW, "policy.allowed")
    assert asked(cast.auditor) == (Effect.DENY, "policy.no_permit")
    assert asked(cast.stranger) == (Effect.DENY, "policy.no_permit")
    User.objects.filter(pk=cast.approver.pk).update(is_active=False)
    assert asked(cast.approver)[0] is Effect.DENY


def test_governance_is_bounded_by_what_the_credential_holds(cast: Cast) -> None:
    weak = replace(principal(cast.approver, cast.default), permissions=frozenset())
    decision = permit_governance(
        principal=weak,
        permission=Permission.APPROVALS_DECIDE,
        resource=EntityRef("Workspace", cast.default.pk),
        workspace_id=cast.default.pk,
        now=NOW,
    )
    assert decision.effect is Effect.DENY
