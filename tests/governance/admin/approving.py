"""Approvals as the tests of their pages make and answer them."""

from __future__ import annotations

import re
from html import unescape

from governance.selectors import CallView
from identity.models import Agent
from tests.governance.admin.posting import FRESH
from tests.governance.admin.test_deciding import Form, request_of
from tests.governance.admin.world import World, propose, sign_in

INBOX = "/admin/approvals/"
LIVE = "/admin/approvals/live/"
TOGETHER = "/admin/approvals/together/"


def path_of(view: CallView) -> str:
    return f"{INBOX}{request_of(view)}/"


def rows(html: str) -> list[str]:
    return re.findall(r'<tr data-id="(apr_\w+)"', html)


def answer_by(world: World, view: CallView, verdict: str = "allow", **more: str) -> None:
    form = Form(sign_in(world.approver, code_age=FRESH), request_of(view))
    form.send(verdict, comment=more.pop("comment", "For the test."), **more)
    assert form.status == 302


def count(agent: Agent, path: str) -> CallView:
    return propose(agent, "demo.wc", {"path": path})


def patterns_of(html: str) -> list[str]:
    return [unescape(one) for one in re.findall(r'name="pattern" value="([^"]*)"', html)]
