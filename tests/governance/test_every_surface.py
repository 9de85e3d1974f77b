"""No way in without a named permission: the URL table, the console, the operations, the shell.

What is open on purpose is listed here by name, so that a new way in is either guarded or noticed.
"""

from __future__ import annotations

import ast
import importlib
import inspect
import pkgutil
from collections import Counter
from collections.abc import Callable, Iterator
from functools import cache
from pathlib import Path
from typing import Any

import pytest
from celery import current_app
from django.urls import URLPattern, URLResolver, get_resolver
from rest_framework.views import APIView

from governance import operations, tasks
from governance.admin.site import DOORS, PAGES, site
from governance.admin.verbs import NEEDS
from governance.api.authentication import BearerAuthentication
from governance.api.permissions import HoldsPermission
from governance.api.views_facades import Facade
from identity.roles import Permission
from palyra_site.broker import JOBS_QUEUE, NOTIFICATIONS_QUEUE
from palyra_site.cli.main import command_tree
from tests.governance.api.routes import ROUTES, template_of
from tests.governance.api.test_matrix import DECIDED_INSIDE

ROOT = Path(__file__).resolve().parents[2]
METHODS = ("get", "post", "put", "patch", "delete")
PUBLIC = {
    "": "the door of the console",
    "admin": "leads to the console",
    "auth/oidc/start": "state and a cookie of its own prove",
    "auth/oidc/confirm": "state and a cookie of its own prove",
    "auth/callback/oidc": "state and a cookie of its own prove",
    "api/v1/tokens/leaked": "possession of the token proves",
    "api/schema/": "the document of the API",
    "docs/errors/<str:code>": "what a problem means",
    ".well-known/palyra-tokens.json": "what leak scanners look for",
    ".well-known/palyra-keys.json": "what checks the signatures of this installation",
    ".well-known/authzen-configuration": "where the decision point is",
    ".well-known/authzen-configuration/pdp/<str:domain>": "where a domain's decision point is",
    "healthz": "the process answers",
    "readyz": "names of failing parts",
}
NOT_BUILT = {
    "budgets": {"budgets.read", "budgets.manage", "usage.read", "usage.read_all"},
    "models": {"models.read", "models.manage", "model.use", "sessions.use", "memory.use", "routines.use"},
    "skills": {
        "skills.read", "skills.stage", "skills.activate", "skills.quarantine", "skills.override",
        "skills.recall",
    },
    "vault": {
        "vault.use", "vault.list", "vault.put", "vault.get", "vault.delete", "vault.configure", "vault.rekey",
        "vault.audit", "vault.investigate",
    },
    "devices and PKI": {"devices.read", "devices.pair", "devices.revoke", "pki.read", "pki.manage"},
    "provider credentials": {"auth_profiles.manage"},
    "sandbox": {"sandbox.configure"},
    "facades": {
        "compat.models.read", "compat.chat.create", "compat.responses.create", "compat.embeddings.create",
        "compat.tools.invoke", "mcp.use",
    },
    "metrics": {"observability.read"},
    "sessions of others": {"sessions.end"},
}  # fmt: skip
"""Permissions whose part has no surface yet. A part that gets one takes its permissions off this list."""
NO_ENFORCERS = frozenset(
    {"identity/roles.py", "identity/access.py", "governance/founding.py", "governance/admin/layout.py"}
)
"""Where a permission is only named: the table itself, features, scopes of the first tokens, the rail."""

LOCAL = {
    "login", "logout", "up-check", "version", "completion", "profiles list", "profiles use", "profiles add",
    "profiles remove", "auth access backfill", "evidence verify",
}  # fmt: skip
"""Commands that ask nothing of the API beyond `whoami`, the health checks and one's own token."""
ANY_ROUTE = {"api"}
COMMANDS = {
    "whoami": ["GET /whoami"],
    "approvals list": ["GET /approvals"],
    "approvals show": ["GET /approvals/{approval_id}"],
    "approvals decide": ["POST /approvals/{approval_id}/decision"],
    "approvals cancel": ["POST /approvals/{approval_id}/cancel"],
    "approvals watch": ["GET /approvals/events"],
    "approvals export": ["GET /approvals/export"],
    "approvals patterns": ["GET /approvals/{approval_id}/patterns"],
    "approvals bulk-decide": ["POST /approvals/bulk-decision"],
    "approvals edit": ["POST /approvals/{approval_id}/edit"],
    "approvals break-glass": ["POST /approvals/{approval_id}/break-glass"],
    "grants list": ["GET /grants"],
    "grants show": ["GET /grants/{grant_id}"],
    "grants revoke": ["POST /grants/{grant_id}/revoke"],
    "denials list": ["GET /denials"],
    "denials show": ["GET /denials/{denial_id}"],
    "denials forget": ["DELETE /denials/{denial_id}"],
    "break-glass list": ["GET /break-glass-reviews"],
    "break-glass review": ["POST /break-glass-reviews/{review_id}"],
    "calls propose": ["POST /tool-calls"],
    "calls show": ["GET /tool-calls/{call_id}"],
    "calls list": ["GET /tool-calls"],
    "calls wait": ["GET /tool-calls/{call_id}"],
    "calls cancel": ["POST /tool-calls/{call_id}/cancel"],
    "calls resolve": ["POST /tool-calls/{call_id}/resolve"],
    "runs open": ["POST /runs"],
    "runs list": ["GET /runs"],
    "runs events": ["GET /runs/{run_id}/events", "GET /runs/{run_id}"],
    "runs complete": ["POST /runs/{run_id}/complete"],
    "runs show": ["GET /runs/{run_id}"],
    "runs cancel": ["POST /runs/{run_id}/cancel"],
    "tools list": ["GET /tools"],
    "tools show": ["GET /tools/{name}"],
    "tools catalog": ["GET /tools/catalog"],
    "tools register": ["POST /tools", "POST /tools/{name}/versions"],
    "tools enable": ["PATCH /tools/{name}"],
    "tools disable": ["PATCH /tools/{name}"],
    "tools describe": ["PATCH /tools/{name}"],
    "tools limits show": ["GET /tool-call-config"],
    "tools limits set": ["PATCH /tool-call-config"],
    "tools allowlist list": ["GET /allowlist"],
    "tools allowlist add": ["POST /allowlist"],
    "tools allowlist remove": ["DELETE /allowlist"],
    "tools sensitive list": ["GET /sensitive-rules"],
    "tools sensitive add": ["POST /sensitive-rules"],
    "tools sensitive remove": ["DELETE /sensitive-rules"],
    "posture list": ["GET /posture"],
    "posture show": ["GET /posture/{tool}"],
    "posture set": ["PUT /posture/{tool}"],
    "posture clear": ["DELETE /posture/{tool}"],
    "posture reset": ["POST /posture/reset"],
    "posture undo": ["POST /posture/undo/{event_id}"],
    "posture events": ["GET /posture/events"],
    "posture preset list": ["GET /posture/presets"],
    "posture preset preview": ["POST /posture/presets/{preset_id}/preview"],
    "posture preset apply": ["POST /posture/presets/{preset_id}/apply"],
    "posture recommend list": ["GET /posture/recommendations"],
    "posture recommend accept": ["POST /posture/recommendations/{recommendation_id}/answer"],
    "posture recommend dismiss": ["POST /posture/recommendations/{recommendation_id}/answer"],
    "posture recommend defer": ["POST /posture/recommendations/{recommendation_id}/answer"],
    "auth step-up": ["POST /auth/step-up"],
    "auth access status": ["GET /access/flags"],
    "auth access feature": ["PATCH /access/flags/{key}"],
    "labels show": ["GET /sessions/{session_id}/labels"],
    "labels declassify": ["POST /sessions/{session_id}/labels/{label}/declassify"],
    "freeze set": ["POST /freezes"],
    "freeze list": ["GET /freezes"],
    "freeze lift": ["POST /freezes/{freeze_id}/lift"],
    "flags list": ["GET /access/flags"],
    "flags show": ["GET /access/flags/{key}"],
    "flags set": ["PATCH /access/flags/{key}"],
    "flags history": ["GET /access/flags/{key}/history"],
    "tokens list": ["GET /tokens"],
    "tokens show": ["GET /tokens/{token_id}"],
    "tokens create": ["POST /tokens"],
    "tokens rotate": ["POST /tokens/{token_id}/rotate"],
    "tokens revoke": ["POST /tokens/{token_id}/revoke"],
    "agents list": ["GET /agents"],
    "agents show": ["GET /agents/{agent_id}"],
    "agents create": ["POST /agents"],
    "agents set": ["PATCH /agents/{agent_id}"],
    "agents suspend": ["POST /agents/{agent_id}/suspend"],
    "agents resume": ["POST /agents/{agent_id}/resume"],
    "agents archive": ["POST /agents/{agent_id}/archive"],
    "users list": ["GET /users"],
    "users show": ["GET /users/{user_id}"],
    "users create": ["POST /users"],
    "users set": ["PATCH /users/{user_id}"],
    "users set-role": ["POST /workspaces/{workspace_id}/memberships"],
    "users disable": ["POST /users/{user_id}/disable"],
    "users enable": ["POST /users/{user_id}/enable"],
    "users reset-factor": ["POST /users/{user_id}/reset-factor"],
    "workspaces list": ["GET /workspaces"],
    "workspaces create": ["POST /workspaces"],
    "workspaces show": ["GET /workspaces/{workspace_id}"],
    "workspaces archive": ["POST /workspaces/{workspace_id}/archive"],
    "workspaces members": ["GET /workspaces/{workspace_id}/memberships"],
    "workspaces invite": ["POST /workspaces/{workspace_id}/invitations"],
    "workspaces invitations": ["GET /workspaces/{workspace_id}/invitations"],
    "workspaces uninvite": ["DELETE /workspaces/{workspace_id}/invitations/{invitation_id}"],
    "workspaces accept": ["POST /invitations/accept"],
    "workspaces set-role": ["POST /workspaces/{workspace_id}/memberships"],
    "workspaces remove": ["DELETE /workspaces/{workspace_id}/memberships/{membership_id}"],
    "workspaces teams list": ["GET /workspaces/{workspace_id}/teams"],
    "workspaces teams create": ["POST /workspaces/{workspace_id}/teams"],
    "workspaces teams add": ["POST /workspaces/{workspace_id}/teams/{team_id}/members"],
    "workspaces teams remove": ["DELETE /workspaces/{workspace_id}/teams/{team_id}/members/{user_id}"],
    "workspaces shares list": ["GET /workspaces/{workspace_id}/shares"],
    "workspaces shares add": ["POST /workspaces/{workspace_id}/shares"],
    "workspaces shares remove": ["DELETE /workspaces/{workspace_id}/shares/{share_id}"],
    "bootstrap clear": ["POST /system/bootstrap/clear"],
    "policy list": ["GET /policy-sets"],
    "policy show": ["GET /policy-sets/{set_id}"],
    "policy draft": ["POST /policy-sets"],
    "policy set": ["PATCH /policy-sets/{set_id}"],
    "policy put": ["PUT /policy-sets/{set_id}/files/{file_name}"],
    "policy remove": ["DELETE /policy-sets/{set_id}/files/{file_name}"],
    "policy discard": ["DELETE /policy-sets/{set_id}"],
    "policy validate": ["POST /policy-sets/{set_id}/validate", "POST /policy/check"],
    "policy test": ["POST /policy/check"],
    "policy diff": ["GET /policy-sets/{set_id}/diff"],
    "policy activate": ["POST /policy-sets/{set_id}/activate"],
    "policy rollback": ["POST /policy-sets/{set_id}/rollback"],
    "policy import": ["POST /policy-sets/import"],
    "policy export": ["GET /policy-sets/{set_id}/export"],
    "policy conformance": ["POST /policy/conformance"],
    "policy explain": ["POST /policy/explain"],
    "policy schema": ["GET /policy/schema"],
    "policy simulate": ["POST /policy-sets/{set_id}/simulate"],
    "policy simulations list": ["GET /policy-sets/{set_id}/simulations"],
    "policy simulations show": ["GET /policy-sets/{set_id}/simulations/{number}"],
    "policy flips": ["GET /policy-sets/{set_id}/simulations/{number}/flips"],
    "policy shadow on": ["POST /policy-sets/{set_id}/shadow"],
    "policy shadow off": ["POST /policy-sets/{set_id}/shadow"],
    "policy shadow results": ["GET /policy-sets/{set_id}/shadow-results"],
    "webhooks list": ["GET /webhooks"],
    "webhooks show": ["GET /webhooks/{webhook_id}"],
    "webhooks create": ["POST /webhooks"],
    "webhooks update": ["PATCH /webhooks/{webhook_id}"],
    "webhooks rotate": ["POST /webhooks/{webhook_id}/rotate"],
    "webhooks test": ["POST /webhooks/{webhook_id}/test"],
    "webhooks delete": ["DELETE /webhooks/{webhook_id}"],
    "webhooks deliveries": ["GET /webhooks/{webhook_id}/deliveries"],
    "webhooks redeliver": ["POST /webhooks/deliveries/{delivery_id}/replay"],
    "notifications show": ["GET /notifications/subscription"],
    "notifications set": ["PUT /notifications/subscription"],
    "journal list": ["GET /journal/events"],
    "journal show": ["GET /journal/events/{event_id}"],
    "journal tail": ["GET /journal/events"],
    "journal prove": ["GET /journal/events/{event_id}/proof"],
    "journal proof": ["GET /journal/events/{event_id}/proof"],
    "journal checkpoint": ["GET /journal/checkpoint"],
    "journal checkpoints": ["GET /journal/checkpoints"],
    "journal consistency": ["GET /journal/consistency"],
    "journal export": ["GET /journal/export"],
    "journal verify": ["POST /journal/verify"],
    "journal erase": ["POST /journal/erase"],
    "journal hold set": ["POST /journal/holds"],
    "journal hold list": ["GET /journal/holds"],
    "journal hold lift": ["POST /journal/holds/{hold_id}/lift"],
    "journal archive": ["POST /journal/archive"],
    "journal archives": ["GET /journal/archives"],
    "journal restore": ["POST /journal/archives/{first_seq}/restore"],
    "journal rotate-key": ["POST /journal/rotate-key"],
    "journal revoke-key": ["POST /journal/keys/{key_id}/revoke"],
    "journal keys": ["GET /journal/keys"],
    "journal cosign": ["POST /journal/checkpoints/{size}/cosignatures"],
    "evidence get": ["GET /tool-calls/{call_id}/evidence"],
    "attestation show": ["GET /tool-calls/{call_id}/attestation"],
    "attestation verify": ["POST /attestations/verify"],
    "jobs list": ["GET /jobs"],
    "jobs show": ["GET /jobs/{job_id}"],
    "jobs wait": ["GET /jobs/{job_id}"],
    "jobs cancel": ["POST /jobs/{job_id}/cancel"],
}
"""The route that each command is there for; `show` and the like read the same object first."""
UNREACHED = {
    "GET /access/roles", "POST /tokens/leaked", "POST /runs/{run_id}/raise-requests",
    "GET /journal/tile/{level}/{place}", "GET /journal/tile/entries/{place}",
}  # fmt: skip
"""Routes that only `palyra api` reaches."""


def walk(patterns: list[Any], prefix: str = "") -> Iterator[tuple[str, Callable[..., Any]]]:
    """Yield every address of the product and its view."""
    for pattern in patterns:
        address = prefix + str(pattern.pattern)
        if isinstance(pattern, URLResolver):
            yield from walk(pattern.url_patterns, address)
        elif isinstance(pattern, URLPattern) and pattern.callback is not None:
            yield address, pattern.callback


def addresses() -> list[tuple[str, Callable[..., Any]]]:
    return list(walk(get_resolver().url_patterns))


def api_view(view: Callable[..., Any]) -> type[APIView] | None:
    found = getattr(view, "cls", None)
    return found if isinstance(found, type) and issubclass(found, APIView) else None


def test_every_address_is_guarded_or_public_on_purpose() -> None:
    seen = addresses()
    assert len(seen) > 100
    unguarded = {
        address
        for address, view in seen
        if not address.startswith("admin/") and not _is_guarded(api_view(view))
    }
    assert unguarded == set(PUBLIC)


def _is_guarded(view: type[APIView] | None) -> bool:
    return (
        view is not None
        and view.permission_classes == [HoldsPermission]
        and view.authentication_classes == [BearerAuthentication]
    )


def test_every_view_names_a_permission_for_each_of_its_methods() -> None:
    for address, view in addresses():
        kind = api_view(view)
        if kind is None or address in PUBLIC:
            continue
        methods = {name.upper() for name in METHODS if hasattr(kind, name)}
        assert methods == set(kind.permissions), address  # type: ignore[attr-defined]  # that is the question
        named = {permission for permission in kind.permissions.values() if permission is not None}  # type: ignore[attr-defined]  # as above
        assert named <= set(Permission), address
        assert named or _may_name_none(address, kind), address


def _may_name_none(address: str, kind: type[APIView]) -> bool:
    templates = {line.partition(" ")[2] for line in DECIDED_INSIDE}
    return issubclass(kind, Facade) or template_of(f"/{address}") in templates


def test_the_api_is_the_route_table_and_nothing_beside_it() -> None:
    served = {template_of(f"/{address}") for address, _ in addresses() if address.startswith("api/v1/")}
    assert served == {route.template for route in ROUTES}


def test_every_page_of_the_console_names_a_permission() -> None:
    assert len(PAGES) > 30
    for route, view, name in PAGES:
        assert hasattr(view, "permission"), route
        assert view.permission is None or view.permission in Permission, route
        assert getattr(view, NEEDS, None) is None or getattr(view, NEEDS) in Permission, name


def test_the_console_serves_its_table_its_doors_and_nothing_else() -> None:
    known = {route for route, _, _ in PAGES} | {route for route, _, _ in DOORS}
    assert {str(pattern.pattern) for pattern in site.get_urls()} == known
    assert site._registry == {}


def public_operations() -> list[tuple[str, Callable[..., Any]]]:
    modules = [
        importlib.import_module(f"{operations.__name__}.{one.name}")
        for one in pkgutil.iter_modules(operations.__path__)
    ]
    return [
        (f"{module.__name__}.{name}", function)
        for module in modules
        for name, function in vars(module).items()
        if inspect.isfunction(function) and function.__module__ == module.__name__ and name[0] != "_"
    ]


def test_every_operation_names_a_permission() -> None:
    found = public_operations()
    assert len(found) > 50
    assert [name for name, operation in found if not hasattr(operation, "permission")] == []


def test_an_operation_that_names_a_permission_knows_who_asks() -> None:
    for name, operation in public_operations():
        if getattr(operation, "permission", None) is not None:
            assert {"principal", "view"} & set(inspect.signature(operation).parameters), name


def test_a_worker_takes_no_orders() -> None:
    """The three tasks have no arguments: what they run is read from rows and asked again at the claim."""
    own = {name for name in current_app.tasks if not name.startswith("celery.")}
    assert own == {tasks.work.name, tasks.jobs.name, tasks.notifications.name}
    for task in (tasks.work, tasks.jobs, tasks.notifications):
        assert inspect.signature(task.run).parameters == {}


def test_calls_jobs_and_notifications_wait_in_queues_of_their_own() -> None:
    """Neither a job that takes minutes nor a receiver that hangs may stand before a call."""
    router = current_app.amqp.router
    queues = {
        router.route({}, task.name)["queue"].name for task in (tasks.work, tasks.jobs, tasks.notifications)
    }
    assert queues == {current_app.conf.task_default_queue, JOBS_QUEUE, NOTIFICATIONS_QUEUE}
    assert len(queues) == 3


def leaves(command: Any, above: tuple[str, ...] = ()) -> Iterator[str]:
    children = getattr(command, "commands", None)
    if not children:
        yield " ".join(above)
        return
    for name, child in children.items():
        yield from leaves(child, (*above, name))


def test_every_command_leads_to_routes_that_ask_for_a_permission() -> None:
    assert set(leaves(command_tree())) == set(COMMANDS) | LOCAL | ANY_ROUTE
    known = {f"{route.method} {route.template}": route for route in ROUTES}
    for command, routes in COMMANDS.items():
        for one in routes:
            method, _, path = one.partition(" ")
            full = f"{method} /api/v1{path}"
            assert full in known, command
            assert known[full].permission is not None or full in DECIDED_INSIDE, command


def test_every_route_is_reached_by_a_command() -> None:
    reached = {one for routes in COMMANDS.values() for one in routes} | UNREACHED
    served = {f"{route.method} {route.template.removeprefix('/api/v1')}" for route in ROUTES}
    assert served - reached == set()
    assert not UNREACHED & {one for routes in COMMANDS.values() for one in routes}


@cache
def uses() -> Counter[str]:
    """Return how often each permission is asked for in the product's own code."""
    found: Counter[str] = Counter()
    for folder in ("governance", "policy", "approvals", "sandbox", "vault", "identity"):
        for path in sorted((ROOT / folder).rglob("*.py")):
            if path.relative_to(ROOT).as_posix() not in NO_ENFORCERS and "migrations" not in path.parts:
                found.update(_named_in(ast.parse(path.read_text())))
    return found


def _named_in(tree: ast.AST) -> Iterator[str]:
    named = (node for node in ast.walk(tree) if isinstance(node, ast.Attribute))
    for node in named:
        of_the_enum = isinstance(node.value, ast.Name) and node.value.id == "Permission"
        if of_the_enum and node.attr in Permission.__members__:
            yield Permission[node.attr].value


def test_the_search_finds_what_is_asked_for() -> None:
    source = "x = Permission.POLICY_EDIT\nrequire(Permission.POLICY_EDIT)\ny = Permission.codename"
    assert Counter(_named_in(ast.parse(source))) == {"policy.edit": 2}


@pytest.mark.parametrize("permission", [permission.value for permission in Permission])
def test_every_permission_is_enforced_or_waits_for_its_part(permission: str) -> None:
    waiting = {name for names in NOT_BUILT.values() for name in names}
    assert (uses()[permission] == 0) is (permission in waiting), uses()[permission]


def test_what_waits_is_listed_once() -> None:
    listed = [name for names in NOT_BUILT.values() for name in names]
    assert len(listed) == len(set(listed))
    assert set(listed) <= {permission.value for permission in Permission}
