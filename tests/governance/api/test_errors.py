"""Every problem code is registered, and has a page that says what to do."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from django.conf import settings

from identity.authentication import RejectedCredentialError
from kernel.errors import CODES, PalyraError
from tests.governance.api.test_answers import assert_problem
from tests.governance.api.world import World

PAGES: Path = settings.BASE_DIR / "docs" / "errors"
_CLASSES = "|".join(kind.__name__ for kind in [*PalyraError.__subclasses__(), RejectedCredentialError])
_RAISED = re.compile(rf"\b(?:{_CLASSES})\(\s*\"([a-z_]+)\"")
_DEFAULT = re.compile(r"default_code = \"([a-z_]+)\"")
_MAPPED = re.compile(r"\(\d{3}, \"([a-z_]+)\"")
_FLOORS = ("kernel", "identity", "policy", "approvals", "sandbox", "vault", "governance")


def codes_in_use() -> set[str]:
    """Return every plain code that a module gives to an error or a problem."""
    texts = [path.read_text() for floor in _FLOORS for path in (settings.BASE_DIR / floor).rglob("*.py")]
    return {code for text in texts for form in (_RAISED, _DEFAULT, _MAPPED) for code in form.findall(text)}


def test_every_code_in_use_is_registered() -> None:
    used = codes_in_use()
    assert {"unauthenticated", "malformed_json", "run_not_found", "unsupported_media_type"} <= used
    assert used <= set(CODES)


def test_every_code_has_a_page_and_every_page_a_code() -> None:
    assert {path.stem for path in PAGES.iterdir()} == set(CODES)


@pytest.mark.parametrize("code", sorted(CODES))
def test_a_page_says_what_a_code_means_and_what_to_do(code: str) -> None:
    text = (PAGES / f"{code}.md").read_text()
    title, meaning, sentence, advice = text.strip().split("\n\n")
    assert title == f"# {code}"
    assert re.fullmatch(re.escape(CODES[code]) + r" \(HTTP [45]\d\d\)\.", meaning)
    assert sentence
    assert advice.startswith("What to do: ")


def test_the_page_is_public_plain_text(world: World) -> None:
    answer = world.nobody.get("/docs/errors/run.closed")
    assert answer.status_code == 200
    assert answer.headers["Content-Type"] == "text/plain; charset=utf-8"
    assert answer.content.decode() == (PAGES / "run.closed.md").read_text()


@pytest.mark.parametrize("code", ["nothing", "..", "..%2f..%2fmanage", "internal.md", "internal%00", ""])
def test_anything_else_is_not_found(world: World, code: str) -> None:
    assert_problem(world.nobody.get(f"/docs/errors/{code}"), 404, "not_found")
