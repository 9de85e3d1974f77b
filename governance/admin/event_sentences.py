"""What each event says in words, after the name of who did it. Pure table; a new event needs a line here.

`{tool}` stands for the tool of the call, `{it}` for what the event is about.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType

TOOL, IT = "{tool}", "{it}"

SENTENCES: Mapping[str, str] = MappingProxyType(
    {
        "tool_call.proposed": "proposed a call of {tool}",
        "tool_call.decided": "had the call of {tool} decided on",
        "tool_call.closed": "saw the call of {tool} end before anything ran",
        "tool_call.superseded": "put another call in the place of {tool}",
        "tool_call.proposed_again": "proposed the call of {tool} again",
        "tool_call.resolved": "put on record what became of {tool}",
        "skill.gate_decided": "had the skill gate decide about {tool}",
        "skill.installed": "installed the skill {it}",
        "skill.activated": "activated the skill {it}",
        "skill.disabled": "switched off the skill {it}",
        "publisher.trusted": "changed the trust in publisher {it}",
        "approval.requested": "asked people about {it}",
        "approval.attached": "joined another call to request {it}",
        "approval.reviewed": "answered request {it}",
        "approval.decided": "brought request {it} to a decision",
        "approval.expired": "let request {it} expire unanswered",
        "approval.cancelled": "withdrew request {it}",
        "approval.failed": "closed request {it}: it could not be carried out",
        "approval.edited": "changed the arguments that request {it} asks about",
        "approval.reminded": "reminded people of request {it}",
        "approval.break_glass": "broke the glass and decided request {it} alone",
        "approval.break_glass_reviewed": "reviewed the forced decision of request {it}",
        "approval.revalidated": "checked the answer to {it} under newer rules, and it stands",
        "approval.denial_forgotten": "forgot the remembered denial of request {it}",
        "approvals.exported": "exported approvals of workspace {it}",
        "grant.created": "gave grant {it}",
        "grant.used": "used grant {it}",
        "grant.consumed": "used up grant {it}",
        "grant.expired": "let grant {it} expire",
        "grant.expiring": "announced that grant {it} ends soon",
        "grant.revoked": "revoked grant {it}",
        "grant.lookup_exceeded": "found too many grants for {tool} to search them all",
        "execution.queued": "queued {tool} for a worker",
        "execution.started": "started {tool}",
        "execution.finished": "finished {tool}",
        "execution.cancelled": "stopped {tool}",
        "execution.refused": "refused to run {tool}",
        "execution.lost": "lost the worker that ran {tool}",
        "attestation.recorded": "had the outcome of {tool} attested",
        "workspace_root.changed": "changed the workspace root {it}",
        "budget.raised": "raised a budget of run {it}",
        "run.opened": "opened run {it}",
        "run.closed": "closed run {it}",
        "run.frozen": "stopped a run by freeze {it}",
        "run.unfrozen": "let a run go on after freeze {it}",
        "freeze.set": "set freeze {it}",
        "freeze.lifted": "lifted freeze {it}",
        "freeze.lift_requested": "asked to have freeze {it} lifted",
        "policy.drafted": "drafted policy set {it}",
        "policy.validated": "validated policy set {it}",
        "policy.activated": "activated policy set {it}",
        "policy.edited": "edited policy set {it}",
        "policy.discarded": "discarded policy set {it}",
        "policy.superseded": "took policy set {it} out of force",
        "policy.rolled_back": "went back to policy set {it}",
        "policy.activation_refused": "was refused the activation of policy set {it}",
        "policy.revalidated": "stopped {tool} under newer rules",
        "policy.baseline_restored": "restored the shipped policy set {it}",
        "policy.simulated": "replayed past decisions under policy set {it}",
        "policy.shadow_changed": "changed the shadowing of policy set {it}",
        "policy.engine_error": "met an error of the policy engine about {it}",
        "webhook.created": "made webhook {it}",
        "webhook.changed": "changed webhook {it}",
        "webhook.rotated": "gave webhook {it} a new secret",
        "webhook.disabled": "switched off webhook {it}",
        "webhook.deleted": "deleted webhook {it}",
        "webhook.tested": "sent a test to webhook {it}",
        "webhook.redelivered": "sent delivery {it} again",
        "webhook.died": "gave up delivery {it}",
        "subscription.changed": "changed what {it} gets mail about",
        "job.started": "started job {it}",
        "job.finished": "finished job {it}",
        "job.cancelled": "cancelled job {it}",
        "job.worker_lost": "lost the worker of job {it}",
        "tool.registered": "registered the tool {it}",
        "tool.changed": "changed the tool {it}",
        "tool.enabled": "switched on the tool {it}",
        "tool.disabled": "switched off the tool {it}",
        "tool_call_config.changed": "changed the limits of calls in workspace {it}",
        "sensitive_rule.changed": "changed what counts as sensitive in workspace {it}",
        "allowlist.changed": "changed the allowlist of workspace {it}",
        "posture.override_set": "set the posture of {it}",
        "posture.override_cleared": "cleared the posture of {it}",
        "posture.override_expired": "let the posture of {it} expire",
        "posture.scope_reset": "reset the postures of {it}",
        "posture.preset_applied": "applied a posture preset to {it}",
        "posture.undone": "undid a posture change of {it}",
        "recommendation.accepted": "accepted a posture recommendation for {it}",
        "recommendation.dismissed": "dismissed a posture recommendation for {it}",
        "recommendation.deferred": "put off a posture recommendation for {it}",
        "label.added": "put a label on session {it}",
        "label.declassified": "took a label off session {it}",
        "reservation.held": "had budget held for {tool}",
        "reservation.settled": "settled the budget of {tool}",
        "reservation.released": "released the budget of {tool}",
        "user.created": "created the account {it}",
        "user.changed": "changed the account {it}",
        "user.disabled": "disabled the account {it}",
        "user.enabled": "enabled the account {it}",
        "membership.granted": "gave a role to {it}",
        "membership.removed": "took a role from {it}",
        "workspace.changed": "changed workspace {it}",
        "team.changed": "changed team {it}",
        "invitation.created": "invited somebody by {it}",
        "invitation.accepted": "accepted invitation {it}",
        "invitation.revoked": "took back invitation {it}",
        "share.changed": "changed what is shared by {it}",
        "factor.enrolled": "set up an authenticator for {it}",
        "factor.reset": "reset the authenticator of {it}",
        "login.succeeded": "signed in",
        "login.failed": "counted refused sign-ins of {it}",
        "login_session.ended": "ended sessions of {it}",
        "step_up.succeeded": "proved themselves with a one-time code",
        "step_up.failed": "typed a wrong one-time code",
        "token.minted": "minted token {it}",
        "token.rotated": "rotated token {it}",
        "token.revoked": "revoked token {it}",
        "token.rejected": "counted refused tokens of {it}",
        "token.exposed": "sent token {it} where it could be read",
        "agent.registered": "registered the agent {it}",
        "agent.changed": "changed the agent {it}",
        "agent.suspended": "suspended the agent {it}",
        "agent.resumed": "let the agent {it} go on",
        "agent.archived": "archived the agent {it}",
        "flag.changed": "changed the feature flag {it}",
        "access.backfilled": "filled in what was missing in the access settings",
        "identity.resealed": "sealed credentials anew under the present key",
        "auth.spoof_attempt": "saw a header that only a proxy may set",
        "request.refused": "was refused a wish about {it}",
        "record.viewed": "opened encrypted records of {it}",
        "journal.key_rotated": "put signing key {it} into use",
        "journal.key_revoked": "revoked signing key {it}",
        "journal.archived": "archived old events",
        "journal.restored": "restored archived events",
        "journal.hold_set": "set legal hold {it}",
        "journal.hold_lifted": "lifted legal hold {it}",
        "journal.inconsistent": "found the journal not as it was signed, and stopped sealing",
        "journal.verified": "verified the journal",
        "journal.exported": "exported the journal",
        "journal.subject_erased": "erased what the journal held of {it}",
        "system.bootstrapped": "set up this installation",
        "system.bootstrap_cleared": "ended the credentials of the first start",
        "system.clock_stepped": "saw the clock stand behind the journal",
    }
)


@dataclass(frozen=True, slots=True)
class Sentence:
    """A sentence around its object: `about` is `tool`, `it` or empty when there is none."""

    before: str
    about: str
    after: str


def sentence_of(name: str) -> Sentence:
    """Return the sentence of an event; one that was never registered reads as its own name."""
    text = SENTENCES.get(name) or f"recorded {name.replace('_', ' ').replace('.', ' ')}"
    for mark in (TOOL, IT):
        before, found, after = text.partition(mark)
        if found:
            return Sentence(before, mark[1:-1], after)
    return Sentence(text, "", "")
