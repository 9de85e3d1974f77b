"""The permission matrix: one enum of permissions, one of roles, one table.

The enum is the sum of the tables of all parts. `MATRIX` says which role holds a permission,
`STRENGTH` which login it needs, `INSTANCE_ONLY` which ones count by membership in the workspace
`instance` alone, `AGENT_PERMISSIBLE` what an agent or service may ever hold.
"""

from __future__ import annotations

from collections.abc import Iterable
from enum import StrEnum
from functools import cache


class WorkspaceRole(StrEnum):
    OWNER = "owner"
    ADMIN = "admin"
    OPERATOR = "operator"
    APPROVER = "approver"
    AUDITOR = "auditor"
    VIEWER = "viewer"


class Permission(StrEnum):
    RUNS_READ = "runs.read"
    RUNS_CREATE = "runs.create"
    RUNS_CANCEL = "runs.cancel"
    RUNS_CANCEL_ANY = "runs.cancel_any"
    CALLS_READ = "calls.read"
    TOOLS_READ = "tools.read"
    TOOLS_PROPOSE = "tools.propose"
    TOOLS_MANAGE = "tools.manage"
    AGENTS_READ = "agents.read"
    AGENTS_MANAGE = "agents.manage"
    BUDGETS_READ = "budgets.read"
    BUDGETS_MANAGE = "budgets.manage"
    USAGE_READ = "usage.read"
    USAGE_READ_ALL = "usage.read_all"
    MODELS_READ = "models.read"
    MODELS_MANAGE = "models.manage"
    MODEL_USE = "model.use"
    SKILLS_READ = "skills.read"
    SKILLS_STAGE = "skills.stage"
    SKILLS_ACTIVATE = "skills.activate"
    SKILLS_QUARANTINE = "skills.quarantine"
    SKILLS_OVERRIDE = "skills.override"
    SKILLS_RECALL = "skills.recall"
    WORKSPACE_READ = "workspace.read"
    WORKSPACE_MANAGE = "workspace.manage"
    WORKSPACE_MEMBERSHIPS_MANAGE = "workspace.memberships.manage"
    WORKSPACE_SHARING_MANAGE = "workspace.sharing.manage"
    INVITATIONS_MANAGE = "invitations.manage"
    OBSERVABILITY_READ = "observability.read"
    MCP_USE = "mcp.use"
    VAULT_USE = "vault.use"
    VAULT_LIST = "vault.list"
    VAULT_PUT = "vault.put"
    VAULT_GET = "vault.get"
    VAULT_DELETE = "vault.delete"
    VAULT_CONFIGURE = "vault.configure"
    VAULT_REKEY = "vault.rekey"
    VAULT_AUDIT = "vault.audit"
    VAULT_INVESTIGATE = "vault.investigate"
    SESSIONS_USE = "sessions.use"
    SESSIONS_END = "sessions.end"
    MEMORY_USE = "memory.use"
    ROUTINES_USE = "routines.use"
    POLICY_READ = "policy.read"
    POLICY_EDIT = "policy.edit"
    POLICY_SIMULATE = "policy.simulate"
    POLICY_ACTIVATE = "policy.activate"
    POSTURE_MANAGE = "posture.manage"
    COMPAT_MODELS_READ = "compat.models.read"
    COMPAT_CHAT_CREATE = "compat.chat.create"
    COMPAT_RESPONSES_CREATE = "compat.responses.create"
    COMPAT_EMBEDDINGS_CREATE = "compat.embeddings.create"
    COMPAT_TOOLS_INVOKE = "compat.tools.invoke"
    APPROVALS_READ = "approvals.read"
    APPROVALS_DECIDE = "approvals.decide"
    APPROVALS_BREAK_GLASS = "approvals.break_glass"
    GRANTS_REVOKE = "grants.revoke"
    FREEZE_SET = "freeze.set"
    DEVICES_READ = "devices.read"
    DEVICES_PAIR = "devices.pair"
    DEVICES_REVOKE = "devices.revoke"
    TOKENS_READ = "tokens.read"
    TOKENS_MINT = "tokens.mint"
    API_TOKENS_MANAGE = "api_tokens.manage"
    AUTH_PROFILES_MANAGE = "auth_profiles.manage"
    WEBHOOKS_MANAGE = "webhooks.manage"
    SANDBOX_CONFIGURE = "sandbox.configure"
    JOURNAL_READ = "journal.read"
    JOURNAL_VERIFY = "journal.verify"
    JOURNAL_EXPORT = "journal.export"
    JOURNAL_REVEAL = "journal.reveal"
    JOURNAL_ERASE = "journal.erase"
    USERS_MANAGE = "users.manage"
    ROLLOUT_MANAGE = "rollout.manage"
    TRUST_OPERATE = "trust.operate"
    PKI_READ = "pki.read"
    PKI_MANAGE = "pki.manage"
    SETTINGS_READ = "settings.read"

    @property
    def codename(self) -> str:
        """The Django permission codename: `policy.edit` is `policy_edit`."""
        return self.value.replace(".", "_")


_P = Permission
_R = WorkspaceRole

_EVERY_ROLE = frozenset(_R)
_OPERATING = frozenset({_R.OWNER, _R.ADMIN, _R.OPERATOR})
_ADMINISTERING = frozenset({_R.OWNER, _R.ADMIN})
_REVIEWING = frozenset({_R.OWNER, _R.ADMIN, _R.APPROVER})
_AUDITING = frozenset({_R.OWNER, _R.ADMIN, _R.AUDITOR})
_STOPPING = _OPERATING | {_R.APPROVER}
_ALL_BUT_VIEWER = _EVERY_ROLE - {_R.VIEWER}
_OWNING = frozenset({_R.OWNER})

MATRIX: dict[Permission, frozenset[WorkspaceRole]] = {
    **dict.fromkeys(
        (
            _P.RUNS_READ, _P.CALLS_READ, _P.TOOLS_READ, _P.AGENTS_READ, _P.BUDGETS_READ, _P.USAGE_READ,
            _P.MODELS_READ, _P.SKILLS_READ, _P.WORKSPACE_READ, _P.OBSERVABILITY_READ,
        ),
        _EVERY_ROLE,
    ),
    **dict.fromkeys(
        (
            _P.RUNS_CREATE, _P.RUNS_CANCEL, _P.TOOLS_PROPOSE, _P.MCP_USE, _P.MODEL_USE, _P.VAULT_USE,
            _P.SESSIONS_USE, _P.MEMORY_USE, _P.ROUTINES_USE, _P.POLICY_SIMULATE, _P.COMPAT_MODELS_READ,
            _P.COMPAT_CHAT_CREATE, _P.COMPAT_RESPONSES_CREATE, _P.COMPAT_EMBEDDINGS_CREATE,
            _P.COMPAT_TOOLS_INVOKE, _P.VAULT_PUT, _P.VAULT_DELETE,
        ),
        _OPERATING,
    ),
    **dict.fromkeys((_P.APPROVALS_READ, _P.POLICY_READ, _P.DEVICES_READ, _P.TOKENS_READ), _ALL_BUT_VIEWER),
    _P.VAULT_LIST: _ALL_BUT_VIEWER,
    _P.APPROVALS_DECIDE: _REVIEWING,
    **dict.fromkeys((_P.GRANTS_REVOKE, _P.FREEZE_SET, _P.SKILLS_QUARANTINE, _P.RUNS_CANCEL_ANY), _STOPPING),
    **dict.fromkeys(
        (
            _P.JOURNAL_READ, _P.JOURNAL_VERIFY, _P.JOURNAL_EXPORT, _P.JOURNAL_REVEAL, _P.VAULT_AUDIT,
            _P.USAGE_READ_ALL,
        ),
        _AUDITING,
    ),
    **dict.fromkeys(
        (
            _P.VAULT_GET, _P.VAULT_CONFIGURE, _P.VAULT_REKEY, _P.VAULT_INVESTIGATE, _P.AGENTS_MANAGE,
            _P.TOOLS_MANAGE, _P.POSTURE_MANAGE, _P.BUDGETS_MANAGE, _P.MODELS_MANAGE,
            _P.AUTH_PROFILES_MANAGE, _P.WEBHOOKS_MANAGE, _P.SKILLS_STAGE, _P.SKILLS_ACTIVATE,
            _P.SKILLS_OVERRIDE, _P.SKILLS_RECALL, _P.POLICY_EDIT, _P.POLICY_ACTIVATE,
            _P.SANDBOX_CONFIGURE, _P.DEVICES_PAIR, _P.DEVICES_REVOKE, _P.TOKENS_MINT,
            _P.API_TOKENS_MANAGE, _P.WORKSPACE_MEMBERSHIPS_MANAGE, _P.WORKSPACE_SHARING_MANAGE,
            _P.INVITATIONS_MANAGE, _P.SESSIONS_END,
        ),
        _ADMINISTERING,
    ),
    **dict.fromkeys(
        (
            _P.WORKSPACE_MANAGE, _P.APPROVALS_BREAK_GLASS, _P.JOURNAL_ERASE, _P.USERS_MANAGE,
            _P.ROLLOUT_MANAGE, _P.TRUST_OPERATE, _P.PKI_READ, _P.PKI_MANAGE, _P.SETTINGS_READ,
        ),
        _OWNING,
    ),
}  # fmt: skip

NEEDS_FRESH_MFA: frozenset[Permission] = frozenset(
    {
        _P.JOURNAL_REVEAL, _P.VAULT_DELETE, _P.VAULT_GET, _P.VAULT_CONFIGURE, _P.VAULT_REKEY,
        _P.VAULT_INVESTIGATE, _P.SKILLS_ACTIVATE, _P.SKILLS_OVERRIDE, _P.SKILLS_RECALL,
        _P.POLICY_ACTIVATE, _P.SANDBOX_CONFIGURE, _P.WORKSPACE_MEMBERSHIPS_MANAGE, _P.WORKSPACE_MANAGE,
        _P.APPROVALS_BREAK_GLASS, _P.JOURNAL_ERASE, _P.USERS_MANAGE, _P.ROLLOUT_MANAGE,
        _P.TRUST_OPERATE, _P.PKI_MANAGE,
    }
)  # fmt: skip

NEEDS_MFA: frozenset[Permission] = NEEDS_FRESH_MFA | {
    _P.APPROVALS_DECIDE, _P.GRANTS_REVOKE, _P.FREEZE_SET, _P.SKILLS_QUARANTINE, _P.RUNS_CANCEL_ANY,
    _P.JOURNAL_EXPORT, _P.VAULT_PUT, _P.AGENTS_MANAGE, _P.TOOLS_MANAGE, _P.POSTURE_MANAGE,
    _P.BUDGETS_MANAGE, _P.MODELS_MANAGE, _P.AUTH_PROFILES_MANAGE, _P.WEBHOOKS_MANAGE, _P.SKILLS_STAGE,
    _P.POLICY_EDIT, _P.DEVICES_PAIR, _P.DEVICES_REVOKE, _P.TOKENS_MINT, _P.API_TOKENS_MANAGE,
    _P.WORKSPACE_SHARING_MANAGE, _P.INVITATIONS_MANAGE, _P.SESSIONS_END,
}  # fmt: skip

INSTANCE_ONLY: frozenset[Permission] = frozenset(
    {
        _P.USERS_MANAGE, _P.ROLLOUT_MANAGE, _P.TRUST_OPERATE, _P.PKI_READ, _P.PKI_MANAGE,
        _P.SETTINGS_READ,
    }
)  # fmt: skip

AGENT_PERMISSIBLE: frozenset[Permission] = frozenset(
    {
        _P.RUNS_CREATE, _P.RUNS_READ, _P.RUNS_CANCEL, _P.TOOLS_PROPOSE, _P.TOOLS_READ, _P.CALLS_READ,
        _P.APPROVALS_READ, _P.USAGE_READ, _P.VAULT_USE, _P.MCP_USE, _P.MODEL_USE,
        _P.COMPAT_MODELS_READ, _P.COMPAT_CHAT_CREATE, _P.COMPAT_RESPONSES_CREATE,
        _P.COMPAT_EMBEDDINGS_CREATE, _P.COMPAT_TOOLS_INVOKE, _P.SESSIONS_USE, _P.MEMORY_USE,
        _P.ROUTINES_USE,
    }
)  # fmt: skip


@cache
def permissions_of(roles: frozenset[WorkspaceRole], *, in_instance: bool) -> frozenset[Permission]:
    """Return what these roles hold; instance-wide permissions only for members of `instance`."""
    return frozenset(
        permission
        for permission, holders in MATRIX.items()
        if holders & roles and (in_instance or permission not in INSTANCE_ONLY)
    )


def known_roles(texts: frozenset[str]) -> frozenset[WorkspaceRole]:
    """Return the roles among stored texts; a text that is no role grants nothing."""
    values = {role.value for role in WorkspaceRole}
    return frozenset(WorkspaceRole(text) for text in texts if text in values)


def narrowed(held: frozenset[Permission], scopes: Iterable[str]) -> frozenset[Permission]:
    """Return what is left of `held` under a token's stored scopes; an unknown scope grants nothing.

    `held & scopes` would answer with the stored strings wherever there are fewer of them.
    """
    names = frozenset(scopes)
    return frozenset(permission for permission in held if permission in names)
