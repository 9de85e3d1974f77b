"""The document that is served, written and committed is one and the same, and true."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml
from django.conf import settings
from django.core.management import call_command
from jsonschema import Draft202012Validator

from tests.governance.api.routes import PRIVATE_ROUTES, ROUTES
from tests.governance.api.world import World

COMMITTED: Path = settings.BASE_DIR / "docs" / "openapi.yaml"


@pytest.fixture(scope="module")
def document() -> dict[str, Any]:
    loaded: dict[str, Any] = yaml.safe_load(COMMITTED.read_text())
    return loaded


def test_served_and_written_documents_equal_the_committed_one(world: World, tmp_path: Path) -> None:
    written = tmp_path / "openapi.yaml"
    call_command("spectacular", validate=True, file=str(written))
    assert written.read_bytes() == COMMITTED.read_bytes()
    served = world.nobody.get("/api/schema/")
    assert served.content == COMMITTED.read_bytes()
    assert served.headers["Content-Type"].startswith("application/vnd.oai.openapi")


def test_the_document_is_openapi_3_1_with_every_route_and_no_other(document: dict[str, Any]) -> None:
    assert document["openapi"].startswith("3.1.")
    described = {(method.upper(), path) for path, item in document["paths"].items() for method in item}
    routed = {(route.method, route.template) for route in ROUTES}
    assert described == routed


def test_every_schema_in_it_is_valid_json_schema(document: dict[str, Any]) -> None:
    assert "ToolCall" in document["components"]["schemas"]
    for schema in document["components"]["schemas"].values():
        Draft202012Validator.check_schema(schema)


def test_every_operation_asks_for_a_token_and_names_its_problems(document: dict[str, Any]) -> None:
    public = {(route.method.lower(), route.template) for route in set(ROUTES) - set(PRIVATE_ROUTES)}
    for path, item in document["paths"].items():
        for method, operation in item.items():
            assert operation.get("security") == (None if (method, path) in public else [{"bearer": []}])
            assert "application/problem+json" in operation["responses"]["default"]["content"]
            names = [parameter["name"] for parameter in operation.get("parameters", [])]
            assert ("Idempotency-Key" in names) == (method == "post" and (method, path) not in public)


def test_every_view_names_a_permission_for_each_of_its_methods() -> None:
    for route in ROUTES:
        methods = {
            name.upper() for name in ("get", "post", "put", "patch", "delete") if hasattr(route.view, name)
        }
        assert methods == set(route.view.permissions)  # type: ignore[attr-defined]  # asked by the permission class


ANSWERS = {
    "runs": "RunList",
    "tool-calls": "ToolCallList",
    "approvals": "ApprovalList",
    "tools": "ToolList",
    "tools/demo.wc": "ToolDetail",
    "whoami": "Whoami",
    "access/flags": "FeatureFlagList",
    "access/flags/compat_api": "FeatureFlag",
    "access/roles": "RoleTable",
    "runs/{run}": "RunDetail",
    "tool-calls/{call}": "ToolCall",
    "approvals/{approval}": "ApprovalDetail",
    "runs/nonsense": "Problem",
}


@pytest.mark.parametrize("path", ANSWERS)
def test_real_answers_fit_their_schemas_member_for_member(
    world: World, document: dict[str, Any], path: str
) -> None:
    call = world.ask()
    address = path.format(run=call["run_id"], call=call["id"], approval=call["approval"]["id"])
    body = world.approver.get(address).json()
    name = ANSWERS[path]
    validator = Draft202012Validator({"$ref": f"#/components/schemas/{name}", **document})
    assert [error.message for error in validator.iter_errors(body)] == []
    assert set(body) == set(document["components"]["schemas"][name]["properties"])
