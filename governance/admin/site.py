"""The console's own admin site: its URL table, its door and who may pass it."""

from __future__ import annotations

from collections.abc import Callable

from django.contrib.admin import AdminSite
from django.contrib.auth import REDIRECT_FIELD_NAME
from django.http import HttpRequest, HttpResponse
from django.shortcuts import redirect
from django.urls import URLPattern, URLResolver, path, re_path, register_converter
from django.utils.http import url_has_allowed_host_and_scheme
from django.views.decorators.cache import never_cache

from governance.admin import (
    account,
    account_bootstrap,
    account_factor,
    account_password,
    agent_verbs,
    agents,
    approval_argument,
    approval_edit,
    approval_verbs,
    approvals,
    batch,
    break_glass,
    calls,
    conversations,
    door,
    evidence,
    flag_verbs,
    flags,
    freeze_verbs,
    freezes,
    grant_verbs,
    grants,
    home,
    integrity,
    journal,
    journal_event,
    limits,
    minting,
    noise,
    people,
    people_verbs,
    policy_editor,
    policy_explain,
    policy_force,
    policy_sets,
    policy_trials,
    policy_verbs,
    posture_presets,
    posture_verbs,
    postures,
    record,
    run_verbs,
    runs,
    switching,
    tokens,
    tool_verbs,
    tools,
    webhook_verbs,
    webhooks,
    workspace_verbs,
    workspaces,
)
from governance.admin.access import Visit
from governance.admin.entering import Stage, stage_of
from governance.admin.layout import THEME, THEMES
from governance.admin.pages import NOT_FOUND, Page, page, refused


class IdConverter:
    """A prefixed ULID in a path; anything else is no page."""

    regex = "[a-z]{2,4}_[0-7][0-9A-HJKMNP-TV-Z]{25}"

    def to_python(self, value: str) -> str:
        return value

    def to_url(self, value: str) -> str:
        return value


register_converter(IdConverter, "palyra_id")


class PalyraAdminSite(AdminSite):
    """Whoever came all the way through the door sees the pages of the table; everybody else the door."""

    site_title = site_header = index_title = "Palyra"
    site_url = None

    def get_urls(self) -> list[URLPattern | URLResolver]:
        pages = [path(route, self.admin_view(view), name=name) for route, view, name in PAGES]
        doors = [path(route, never_cache(view), name=name) for route, view, name in DOORS]
        return [*doors, *pages, re_path(r"", self.admin_view(missing))]

    def has_permission(self, request: HttpRequest) -> bool:
        """Tell whether a person with a role, a password of their own and a second factor is looking."""
        return stage_of(request) is Stage.IN


@page(None)
def missing(visit: Visit, **kwargs: str) -> HttpResponse:
    return refused(visit, NOT_FOUND, status=404)


@page(None)
def theme(visit: Visit) -> HttpResponse:
    """Remember the colours this person wants for this session."""
    request = visit.request
    if request.method == "POST":
        wanted = request.POST.get("theme", "")
        request.session[THEME] = wanted if wanted in THEMES else ""
    target = request.POST.get(REDIRECT_FIELD_NAME, "")
    inside = target.startswith("/admin/") and url_has_allowed_host_and_scheme(target, allowed_hosts=None)
    return redirect(target if inside else "admin:index")


DOORS: tuple[tuple[str, Callable[..., HttpResponse], str], ...] = (
    ("login/", door.login, "login"),
    ("logout/", door.logout, "logout"),
    ("setup/<str:text>/", door.setup, "setup"),
    ("account/password/", account_password.password, "password"),
    ("account/authenticator/", account_factor.authenticator, "authenticator"),
)
"""What is open before somebody is in; each asks for the stage it needs by itself."""

PAGES: tuple[tuple[str, Page, str], ...] = (
    ("", home.index, "index"),
    ("approvals/", approvals.inbox, "approvals"),
    ("approvals/live/", approvals.live, "approvals_live"),
    ("approvals/together/", batch.together, "approvals_together"),
    ("approvals/noise/", noise.noise, "noise"),
    ("approvals/break-glass/", break_glass.reviews, "break_glass_reviews"),
    ("approvals/break-glass/<palyra_id:review_id>/", break_glass.review, "review_break_glass"),
    ("approvals/<palyra_id:request_id>/", approvals.detail, "approval"),
    ("approvals/<palyra_id:request_id>/state/", approvals.state, "approval_state"),
    ("approvals/<palyra_id:request_id>/argument/", approval_argument.argument, "approval_argument"),
    ("approvals/<palyra_id:request_id>/edit/", approval_edit.edit, "edit_approval"),
    ("approvals/<palyra_id:request_id>/withdraw/", approval_verbs.withdraw, "withdraw_approval"),
    ("approvals/<palyra_id:request_id>/break-glass/", approval_verbs.break_glass, "break_glass"),
    ("grants/", grants.grants, "grants"),
    ("grants/revoke/", grant_verbs.revoke_ticked, "revoke_grants"),
    ("grants/denials/", grants.denials, "denials"),
    ("grants/denials/forget/", grant_verbs.forget_ticked, "forget_denials"),
    ("grants/<palyra_id:grant_id>/", grants.grant_page, "grant"),
    ("grants/<palyra_id:grant_id>/revoke/", grant_verbs.revoke, "revoke_grant"),
    ("calls/", calls.call_list, "calls"),
    ("calls/<palyra_id:call_id>/", calls.call_page, "call"),
    ("calls/<palyra_id:call_id>/cancel/", calls.cancel_call, "cancel_call"),
    ("calls/<palyra_id:call_id>/evidence/", evidence.download, "call_evidence"),
    ("calls/<palyra_id:call_id>/resolve/", run_verbs.resolve, "resolve_call"),
    ("runs/", runs.run_list, "runs"),
    ("runs/<palyra_id:run_id>/", runs.run_page, "run"),
    ("runs/<palyra_id:run_id>/cancel/", run_verbs.cancel, "cancel_run"),
    ("runs/<palyra_id:run_id>/complete/", run_verbs.complete, "complete_run"),
    ("sessions/<palyra_id:session_id>/", conversations.session_page, "session"),
    ("sessions/<palyra_id:session_id>/declassify/", conversations.declassify, "declassify"),
    ("freezes/", freezes.freeze_list, "freezes"),
    ("freezes/set/", freeze_verbs.set_freeze, "set_freeze"),
    ("freezes/<palyra_id:freeze_id>/lift/", freeze_verbs.lift, "lift_freeze"),
    ("freezes/<palyra_id:freeze_id>/request/", freeze_verbs.request_lift, "request_lift"),
    ("webhooks/", webhooks.webhooks, "webhooks"),
    ("webhooks/new/", webhook_verbs.create, "new_webhook"),
    ("webhooks/<palyra_id:webhook_id>/", webhooks.webhook_page, "webhook"),
    ("webhooks/<palyra_id:webhook_id>/change/", webhook_verbs.change, "change_webhook"),
    ("webhooks/<palyra_id:webhook_id>/switch/", webhook_verbs.switch, "switch_webhook"),
    ("webhooks/<palyra_id:webhook_id>/rotate/", webhook_verbs.rotate, "rotate_webhook"),
    ("webhooks/<palyra_id:webhook_id>/test/", webhook_verbs.test, "test_webhook"),
    ("webhooks/<palyra_id:webhook_id>/delete/", webhook_verbs.delete, "delete_webhook"),
    (
        "webhooks/<palyra_id:webhook_id>/deliveries/<palyra_id:delivery_id>/",
        webhook_verbs.replay,
        "replay_delivery",
    ),
    ("tools/", tools.tools, "tools"),
    ("tools/limits/", limits.limits, "limits"),
    ("tools/limits/change/", limits.change, "change_limits"),
    ("tools/limits/preset/", limits.preset, "limits_preset"),
    ("tools/limits/add/", limits.add, "allowlist_add"),
    ("tools/limits/remove/", limits.remove, "allowlist_remove"),
    ("tools/limits/hold/", limits.hold, "hold_sensitive"),
    ("tools/limits/release/", limits.release, "release_sensitive"),
    ("tools/posture/", postures.matrix, "posture"),
    ("tools/posture/answer/", posture_verbs.answer, "posture_answer"),
    ("tools/posture/tool/<str:tool>/", postures.tool_page, "posture_tool"),
    ("tools/posture/tool/<str:tool>/set/", posture_verbs.set_posture, "set_posture"),
    ("tools/posture/tool/<str:tool>/clear/", posture_verbs.clear_posture, "clear_posture"),
    ("tools/posture/presets/", posture_presets.presets, "posture_presets"),
    ("tools/posture/presets/<slug:preset_id>/", posture_presets.preset, "posture_preset"),
    ("tools/posture/presets/<slug:preset_id>/apply/", posture_verbs.apply_preset, "apply_preset"),
    ("tools/posture/history/", posture_presets.history, "posture_history"),
    ("tools/posture/history/<palyra_id:event_id>/undo/", posture_verbs.undo, "undo_posture"),
    ("tools/<str:name>/", tools.tool, "tool"),
    ("tools/<str:name>/switch/", tool_verbs.switch, "switch_tool"),
    ("tools/<str:name>/describe/", tool_verbs.describe, "describe_tool"),
    ("tools/<str:name>/allow/", tool_verbs.allow, "allow_tool"),
    ("policy/", policy_sets.policy, "policy"),
    ("policy/new/", policy_verbs.draft, "new_policy"),
    ("policy/import/", policy_verbs.upload, "import_policy"),
    ("policy/active/", policy_sets.in_force, "active_policy"),
    ("policy/<palyra_id:set_id>/", policy_sets.policy_set, "policy_set"),
    ("policy/<palyra_id:set_id>/diff/", policy_sets.policy_diff, "policy_diff"),
    ("policy/<palyra_id:set_id>/export/", policy_sets.export, "export_policy"),
    ("policy/<palyra_id:set_id>/again/", policy_verbs.draft_again, "draft_again"),
    ("policy/<palyra_id:set_id>/validate/", policy_verbs.validate, "validate_policy"),
    ("policy/<palyra_id:set_id>/describe/", policy_verbs.describe, "describe_policy"),
    ("policy/<palyra_id:set_id>/discard/", policy_verbs.discard, "discard_policy"),
    ("policy/<palyra_id:set_id>/add/", policy_verbs.add, "add_policy_file"),
    ("policy/<palyra_id:set_id>/edit/<str:file>/", policy_editor.edit, "edit_policy"),
    ("policy/<palyra_id:set_id>/edit/<str:file>/save/", policy_editor.save, "save_policy_file"),
    ("policy/<palyra_id:set_id>/edit/<str:file>/remove/", policy_editor.remove, "remove_policy_file"),
    ("policy/<palyra_id:set_id>/simulate/", policy_trials.simulate, "simulate_policy"),
    ("policy/<palyra_id:set_id>/simulations/<str:number>/", policy_trials.simulation, "simulation"),
    ("policy/<palyra_id:set_id>/simulations/<str:number>/csv/", policy_trials.flips_csv, "flips_csv"),
    ("policy/<palyra_id:set_id>/shadow/", policy_trials.shadow, "policy_shadow"),
    ("policy/<palyra_id:set_id>/shadow/change/", policy_trials.change_shadow, "shadow_policy"),
    ("policy/<palyra_id:set_id>/activate/", policy_force.activation, "activate_policy"),
    ("policy/<palyra_id:set_id>/activate/do/", policy_force.activate, "do_activate_policy"),
    ("policy/<palyra_id:set_id>/rollback/", policy_force.going_back, "rollback_policy"),
    ("policy/<palyra_id:set_id>/rollback/do/", policy_force.rollback, "do_rollback_policy"),
    ("policy/explain/", policy_explain.explain, "explain"),
    ("users/", people.people, "users"),
    ("users/new/", people_verbs.create, "new_user"),
    ("users/<palyra_id:user_id>/", people.person_page, "user"),
    ("users/<palyra_id:user_id>/grant/", people_verbs.grant, "grant_role"),
    ("users/<palyra_id:user_id>/remove/", people_verbs.remove, "remove_role"),
    ("users/<palyra_id:user_id>/change/", people_verbs.change, "change_user"),
    ("users/<palyra_id:user_id>/reset/", people_verbs.reset, "reset_factor"),
    ("users/<palyra_id:user_id>/disable/", people_verbs.disable, "disable_user"),
    ("users/<palyra_id:user_id>/enable/", people_verbs.enable, "enable_user"),
    ("agents/", agents.agents, "agents"),
    ("agents/new/", agent_verbs.register, "new_agent"),
    ("agents/<palyra_id:agent_id>/", agents.agent_page, "agent"),
    ("agents/<palyra_id:agent_id>/change/", agent_verbs.change, "change_agent"),
    ("agents/<palyra_id:agent_id>/suspend/", agent_verbs.suspend, "suspend_agent"),
    ("agents/<palyra_id:agent_id>/resume/", agent_verbs.resume, "resume_agent"),
    ("agents/<palyra_id:agent_id>/archive/", agent_verbs.archive, "archive_agent"),
    ("workspaces/", workspaces.workspaces, "workspaces"),
    ("workspaces/new/", workspace_verbs.create, "new_workspace"),
    ("workspaces/<palyra_id:workspace_id>/", workspaces.workspace_page, "workspace"),
    ("workspaces/<palyra_id:workspace_id>/permissions/", workspaces.permissions, "permissions"),
    ("workspaces/<palyra_id:workspace_id>/grant/", workspace_verbs.grant, "grant_here"),
    ("workspaces/<palyra_id:workspace_id>/remove/", workspace_verbs.remove, "remove_here"),
    ("workspaces/<palyra_id:workspace_id>/invite/", workspace_verbs.invite, "invite"),
    ("workspaces/<palyra_id:workspace_id>/withdraw/", workspace_verbs.withdraw, "withdraw"),
    ("workspaces/<palyra_id:workspace_id>/team/", workspace_verbs.create_team, "create_team"),
    ("workspaces/<palyra_id:workspace_id>/join/", workspace_verbs.join, "join_team"),
    ("workspaces/<palyra_id:workspace_id>/leave/", workspace_verbs.leave, "leave_team"),
    ("workspaces/<palyra_id:workspace_id>/share/", workspace_verbs.share, "share"),
    ("workspaces/<palyra_id:workspace_id>/unshare/", workspace_verbs.unshare, "unshare"),
    ("workspaces/<palyra_id:workspace_id>/archive/", workspace_verbs.archive, "archive_workspace"),
    ("journal/", journal.timeline, "journal"),
    ("journal/integrity/", integrity.integrity, "integrity"),
    ("journal/integrity/verify/", integrity.verify, "verify_journal"),
    ("journal/<palyra_id:event_id>/", journal_event.event_page, "journal_event"),
    ("journal/<palyra_id:event_id>/proof/", journal_event.event_proof, "journal_proof"),
    ("journal/<palyra_id:event_id>/reveal/", journal_event.reveal, "reveal_event"),
    ("executions/", record.executions, "executions"),
    ("tokens/", tokens.tokens, "tokens"),
    ("tokens/new/", minting.mint, "mint"),
    ("tokens/<palyra_id:token_id>/", tokens.token_page, "token"),
    ("tokens/<palyra_id:token_id>/rotate/", minting.rotate, "rotate_token"),
    ("tokens/<palyra_id:token_id>/revoke/", tokens.revoke, "revoke_token"),
    ("my-tokens/", tokens.my_tokens, "my_tokens"),
    ("my-tokens/new/", minting.mint_own, "mint_own"),
    ("account/", account.overview, "account"),
    ("account/sessions/end/", account.end_session, "end_session"),
    ("account/sessions/end-others/", account.end_others, "end_other_sessions"),
    ("account/recovery-codes/", account_factor.recovery_codes, "recovery_codes"),
    ("account/bootstrap/", account_bootstrap.clear, "clear_bootstrap"),
    ("flags/", flags.flags, "flags"),
    ("flags/<slug:key>/", flags.flag, "flag"),
    ("flags/<slug:key>/switch/", flag_verbs.switch, "switch_flag"),
    ("flags/<slug:key>/audience/", flag_verbs.audience, "flag_audience"),
    ("theme/", theme, "theme"),
    ("switch/", switching.switch, "switch"),
)

site = PalyraAdminSite(name="admin")
