"""Earlier questions that patterns are held against: as many as a person can wait for."""

from __future__ import annotations

import pytest

from approvals.models import ApprovalRequest
from governance import grants
from kernel.clock import utc_now
from kernel.errors import InvalidError
from tests.governance.pipeline.world import World

pytestmark = pytest.mark.django_db
UNDER_SRC = {
    "v": 1,
    "constraints": [{"pointer": "/path", "op": "path_prefix", "value": "src"}],
    "rest": "equal",
}


def write(path: str, content: str = "x") -> dict[str, object]:
    return {"path": path, "content": content}


def test_large_calls_do_not_make_people_wait_and_hide_no_denial(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(grants, "MOST_COMPARED", 200)
    run = world.open_run()
    denied = world.propose("fs.write", write("src/a", "no"), run=run)
    world.answer(denied, "deny")
    world.propose("fs.write", write("src/b", "y" * 150), run=run)
    view = world.propose("fs.write", write("src/c"), run=run)
    asked = ApprovalRequest.objects.get(pk=view.call.approval_id)
    read = {ask.denied: ask.parameters for ask in grants.past_asks(asked, utc_now())}
    assert read == {True: write("src/a", "no"), False: None}
    assert world.answer(view, scope="session", pattern=UNDER_SRC).kind == "allowed"


def test_a_denied_call_too_large_to_compare_may_be_covered_by_any_pattern(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(grants, "MOST_COMPARED", 100)
    run = world.open_run()
    world.answer(world.propose("fs.write", write("lib/a", "y" * 150), run=run), "deny")
    view = world.propose("fs.write", write("src/c"), run=run)
    with pytest.raises(InvalidError) as refused:
        world.answer(view, scope="session", pattern=UNDER_SRC)
    assert refused.value.code == "pattern_covers_denied"
    assert world.answer(view, scope="session").kind == "allowed"
