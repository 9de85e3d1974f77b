from __future__ import annotations

import pytest
from django.test import Client

from governance.admin.headers import FIXED
from palyra_site.log_filters import WithoutSetupLinks

POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; font-src 'self'; "
    "connect-src 'self'; form-action 'self'; base-uri 'none'; frame-ancestors 'none'; object-src 'none'"
)


@pytest.mark.django_db
@pytest.mark.parametrize("path", ["/admin/login/", "/admin/", "/admin/nothing/here/", "/admin"])
def test_every_console_answer_carries_the_fixed_headers_and_is_never_stored(path: str) -> None:
    answer = Client().get(path)
    assert {name: answer[name] for name in FIXED} == FIXED
    assert answer["Content-Security-Policy"] == POLICY
    assert answer["Cache-Control"] == "no-store"


@pytest.mark.django_db
@pytest.mark.parametrize("name", ["console.css", "console.js", "icons.svg", "mark.svg"])
def test_static_files_carry_the_same_policy(name: str) -> None:
    answer = Client().get(f"/static/palyra/{name}")
    answer.close()
    assert answer.status_code == 200
    assert answer["Content-Security-Policy"] == POLICY
    assert answer["Cross-Origin-Resource-Policy"] == "same-origin"


def test_the_policy_allows_nothing_unsafe() -> None:
    assert "unsafe" not in POLICY
    assert all(value.endswith("=()") for value in FIXED["Permissions-Policy"].split(", "))


def test_other_surfaces_keep_their_own_headers() -> None:
    assert Client().get("/healthz")["Content-Security-Policy"] != POLICY
    assert Client().get("/administrator").headers.get("Content-Security-Policy") != POLICY


def test_the_console_without_its_last_slash_leads_to_it() -> None:
    answer = Client().get("/admin")
    assert (answer.status_code, answer["Location"]) == (302, "/admin/")


@pytest.mark.django_db
def test_a_refused_form_of_a_setup_page_leaves_no_link_in_the_log(caplog: pytest.LogCaptureFixture) -> None:
    caplog.handler.addFilter(WithoutSetupLinks())
    answer = Client(enforce_csrf_checks=True).post("/admin/setup/kR3-secret_text/", {"password": "x"})
    assert answer.status_code == 403
    assert "/admin/setup/…/" in caplog.text
    assert "kR3-secret_text" not in caplog.text
