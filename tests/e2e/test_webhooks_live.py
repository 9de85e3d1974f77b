"""A real receiver hears of a real request from a real worker, and its own library believes it."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from threading import Thread
from typing import Any

import pytest
from standardwebhooks import Webhook

from tests.e2e.installation import Installation
from tests.e2e.test_policy_live import Admin
from tests.support_fixtures import ROOT
from tests.support_servers import running, wait_until

pytestmark = [pytest.mark.e2e, pytest.mark.sandbox]
SECRET = "hunter2-hunter2-hunter2"


@dataclass
class Receiver:
    url: str
    heard: list[tuple[dict[str, str], bytes]] = field(default_factory=list)

    def verified(self, secret: str) -> list[dict[str, Any]]:
        """Return what was heard; the receiver's library raises for what Palyra did not sign."""
        return [dict(Webhook(secret).verify(body, headers)) for headers, body in self.heard]


@contextmanager
def receiving() -> Iterator[Receiver]:
    class Answering(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["Content-Length"]))
            receiver.heard.append((dict(self.headers.items()), body))
            self.send_response(204)
            self.end_headers()

        def log_message(self, *_: object) -> None:
            """Say nothing."""

    with HTTPServer(("127.0.0.1", 0), Answering) as server:
        receiver = Receiver(f"http://127.0.0.1:{server.server_port}/palyra")
        thread = Thread(target=server.serve_forever)
        thread.start()
        try:
            yield receiver
        finally:
            server.shutdown()
            thread.join()


@contextmanager
def worker(installation: Installation) -> Iterator[None]:
    """Run one worker for calls and notifications; `manage.py up` starts one for each."""
    log = installation.base / "worker.log"
    queues = ("-Q", "sandbox,notifications", "-c", "2", "--hostname", "both@localhost", "-l", "INFO")
    with running(
        installation.command("-m", "celery", "-A", "palyra_site.celery", "worker", *queues),
        log=log,
        ready=lambda: b" ready." in log.read_bytes(),
        env=installation.environment,
        cwd=ROOT,
    ):
        yield


def mails(home: Path) -> str:
    return "\n".join(path.read_text() for path in (home / "mail").glob("*"))


def test_a_request_and_its_answer_are_told_and_verified(installation: Installation) -> None:
    here = replace(installation, settings={"PALYRA_DEBUG": "1"})
    here.found()
    with receiving() as receiver, here.web(), worker(here):
        admin = Admin(here)
        wished = {"url": receiver.url, "event_types": ["approval.*", "grant.created"]}
        hook = admin.send("POST", "/webhooks", wished, status=201)
        me = admin.send("GET", "/whoami")["id"]
        admin.edit("PATCH", f"/users/{me}", f"/users/{me}", {"email": "owner@example.com"})
        admin.send("PUT", "/notifications/subscription", {"enabled": True})
        call = here.as_agent().propose("demo.wc", {"path": f"notes/{SECRET}.txt"})
        asked = call["approval"]["id"]
        wait_until(lambda: len(receiver.heard) == 1, what="the first webhook")
        wait_until(lambda: asked in mails(here.home), what="the mail")
        here.as_owner().allow(call)
        delivered = f"/webhooks/{hook['id']}/deliveries?state=delivered"
        wait_until(lambda: len(admin.send("GET", delivered)["data"]) == 3, what="the other webhooks")
        told = receiver.verified(hook["secret"])
        sent = admin.send("GET", delivered)["data"]
    assert [one["type"] for one in told] == ["approval.requested", "approval.decided", "grant.created"]
    assert [one["data"]["state"] for one in told] == ["pending", "allowed", "active"]
    assert (told[0]["data"]["id"], told[0]["data"]["tool"]) == (asked, "demo.wc")
    assert {headers["webhook-id"] for headers, _ in receiver.heard} == {row["event"] for row in sent}
    assert SECRET not in mails(here.home) + "".join(body.decode() for _, body in receiver.heard)
    assert (here.home / "mail").stat().st_mode & 0o777 == 0o700
