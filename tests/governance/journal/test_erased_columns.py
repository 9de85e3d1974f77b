"""Every column that has room for words is either emptied by an erasure or kept for a stated reason.

A column with room for 40 characters or less holds an id, a code or a state. Any other that holds text, JSON
or bytes stands here, so that whoever adds one has to decide.
"""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from django.apps import apps
from django.db import models

ROOT = Path(__file__).resolve().parents[3]
ROOM_OF_AN_ID = 40
WORDY = (models.CharField, models.TextField, models.JSONField, models.BinaryField)
ERASERS = (
    "approvals/erasing.py", "governance/erased_rows.py", "governance/journal/erase.py", "identity/erasing.py",
    "policy/erasing.py", "policy/decision_records.py", "sandbox/erasing.py",
)  # fmt: skip

EMPTIED = """
    approvals.ApprovalRequest: action_digest channel context_text resume
    approvals.BreakGlassReview: comment
    approvals.Grant: action_digest channel pattern pattern_digest rest_digest revoke_reason
    approvals.Review: comment ip_digest pattern
    governance.IdempotencyRecord: request_digest response_body response_headers
    governance.JournalSubjectKey: wrapped_key
    governance.MailDelivery: error
    governance.Run: channel labels purpose
    governance.Session: key
    governance.ToolCall: action_digest error finding gates idempotency_key input reason resource result salt
        tool_name traceparent
    governance.WebhookDelivery: error response_excerpt
    identity.Agent: name purpose
    identity.ApiToken: allowed_networks label last_used_network
    identity.Invitation: email
    identity.User: display_name email oidc_issuer oidc_subject username
    policy.SessionLabel: declassified_reason
    policy.SimulationFlip: resource_id
    sandbox.Execution: action_digest
"""
"""Set to nothing where they concern what is erased."""

DELETED = """
    approvals.DenialMemory governance.NotificationSubscription identity.ConsoleSession identity.LoginFailure
    identity.LoginSuccess identity.OidcAttempt identity.RecoveryCode identity.RejectionTally
    identity.SetupLink identity.TokenElevation identity.TotpFactor policy.DecisionRecord
    policy.EntitySnapshot policy.SessionValueMark
"""
"""Rows that go whole."""

KEPT = {
    "what is signed, or proves it: nothing in it can be read or guessed without the key": """
        governance.Attestation: envelope envelope_sha256 execution_sha256 executor
        governance.JournalArchive: sha256 uri
        governance.JournalCheckpoint: chain_head frontier note root
        governance.JournalCosignature: line witness
        governance.JournalEvent: actor envelope subject type
        governance.JournalKey: key_id public_key vault_ref
        governance.JournalLeaf: chain_hash leaf_hash
        governance.JournalPayload: ciphertext nonce
        governance.JournalTile: hashes root
    """,
    "rules and catalogs that people of the organisation wrote; their events belong to nobody": """
        governance.Freeze: lift_reason reason scope_id
        governance.LegalHold: reason subject
        governance.WebhookEndpoint: description disabled_reason event_types previous_sealed secret_sealed url
        identity.Agent: composition_digest limits
        identity.ApiToken: scopes
        identity.FeatureFlag: workspaces
        identity.FeatureFlagChange: after before reason
        identity.ResourceShare: resource_id
        identity.Team: name
        identity.Workspace: name slug
        policy.AllowlistEntry: value
        policy.PolicyFile: name text
        policy.PolicyFinding: file message policy_id
        policy.PolicySet: domain entities_json hash reason schema_digest schema_text title
        policy.PostureEvent: changes reason scope_id source tool
        policy.PostureOverride: reason scope_id source tool
        policy.RecommendationAnswer: recommendation_id
        policy.SensitiveRule: value
        policy.Tool: adds_labels capabilities description egress_hosts name secrets sinks units
        policy.ToolVersion: argv_template cedar_fragment definition_digest input_schema output_schema
            resource_template
        sandbox.Skill: skill_id
        sandbox.SkillBlob: artifact_digest bytes
        sandbox.SkillGrant: atoms bindings
        sandbox.SkillPublisher: note
        sandbox.SkillVersion: artifact_digest capability_digest manifest payload_digest source status_reason
        sandbox.WorkspaceRoot: name path protected
    """,
    "ids, names of the catalog, codes, numbers and digests of rules: the attestation says the same": """
        approvals.ApprovalRequest: obligations obligations_digest parties policy_set_hash policy_stamp
            skill_digest skill_id subject_label tool tool_definition_hash
        approvals.Grant: obligations_digest policy_set_hash skill_digest skill_id subject_label tool
            tool_definition_hash
        approvals.Review: roles
        governance.ToolCall: definition_digest determining_policies executor obligations policy_set
            reason_code skill spec
        identity.Agent: parties
        policy.LabelHolder: id
        policy.SessionLabel: call_ids
        policy.ShadowResult: examples
        policy.SimulationFlip: new_policies old_policies
        policy.SimulationRun: against_hash asked draft_hash error_code matrix
        sandbox.Execution: backend boot_id cancel_reason enforcement error_code spec spec_digest usage
            worker_id
    """,
    "a salted digest, whose salt is gone": "sandbox.Execution: output_digest",
    "ids and codes alone, by the rule of the outbox": """
        governance.OutboxEvent: body type
        governance.WebhookDelivery: body type
    """,
    "counts and codes of work that belongs to no subject": """
        governance.Job: error_code message result subject worker_id
    """,
    "gone by itself within a day": """
        governance.IdempotencyRecord: key route
        identity.RateBucket: buckets key
        identity.SpoofSighting: network
    """,
    "a credential, which opens nothing any more, or why it ended": """
        identity.ApiToken: digest revoked_reason
        identity.Invitation: digest
        identity.User: password
    """,
    "the installation's own keys and hosts": """
        sandbox.SandboxProbe: boot_id bwrap_sha256 degraded executors findings host kernel
        vault.Kek: check_value locator
        vault.SystemKey: key_id public_key wrapped
    """,
    "tables of Django that hold nothing of anybody's": """
        admin.LogEntry: change_message object_id object_repr
        auth.Group: name
        auth.Permission: codename name
        contenttypes.ContentType: app_label model
    """,
}


def listed(text: str) -> set[str]:
    """Return `app.Model.column` for each line `app.Model: column …`, which may go on in the next lines."""
    found, model = set(), ""
    for word in text.split():
        if word.endswith(":"):
            model = word[:-1]
        else:
            found.add(f"{model}.{word}")
    return found


def with_room_for_words() -> set[str]:
    found = set()
    for model in apps.get_models():
        for field in model._meta.concrete_fields:
            short = isinstance(field, models.CharField) and (field.max_length or 0) <= ROOM_OF_AN_ID
            wordy = isinstance(
                field, (models.CharField, models.TextField, models.JSONField, models.BinaryField)
            )
            if wordy and not short and not field.is_relation:
                found.add(f"{model._meta.label}.{field.name}")
    return found


def test_each_column_with_room_for_words_is_emptied_deleted_or_kept_for_a_reason() -> None:
    deleted = {name for name in with_room_for_words() if name.rpartition(".")[0] in DELETED.split()}
    known = [listed(EMPTIED), deleted, *(listed(columns) for columns in KEPT.values())]
    assert set().union(*known) == with_room_for_words()
    assert sum(map(len, known)) == len(with_room_for_words()), "a column stands in two places"


@pytest.mark.parametrize("name", sorted(listed(EMPTIED)))
def test_what_is_said_to_be_emptied_is_named_where_rows_are_emptied(name: str) -> None:
    source = "".join((ROOT / place).read_text() for place in ERASERS)
    column = name.rpartition(".")[2]
    assert re.search(rf"\b{column}\b", source), name
    assert re.search(rf"\b{name.split('.')[1]}\b", source), name


@pytest.mark.parametrize("name", DELETED.split())
def test_what_is_said_to_be_deleted_is_named_there(name: str) -> None:
    source = "".join((ROOT / place).read_text() for place in ERASERS)
    assert re.search(rf"\b{name.split('.')[1]}\b", source), name
