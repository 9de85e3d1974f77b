"""Asking a provider that does not behave: always soon over, and never anywhere else than asked."""

from __future__ import annotations

import gzip
import json
import threading
import time
from collections.abc import Iterator
from contextlib import suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, ClassVar

import pytest

from identity import oidc_http
from identity.oidc import Client, OidcRefusedError, Provider
from identity.oidc_http import MAX_BYTES, discover, exchange, fetch_keys
from kernel.errors import UnavailableError
from tests.support_servers import free_port


class Fickle(BaseHTTPRequestHandler):
    """Answers as the test says; keeps what it was asked."""

    protocol_version = "HTTP/1.1"
    status: ClassVar[int] = 200
    headers_sent: ClassVar[dict[str, str]] = {}
    body: ClassVar[bytes] = b"{}"
    pause: ClassVar[float] = 0.0
    asked: ClassVar[list[tuple[str, str, dict[str, str], bytes]]] = []

    def do_GET(self) -> None:
        length = int(self.headers.get("Content-Length") or 0)
        Fickle.asked.append((self.command, self.path, dict(self.headers), self.rfile.read(length)))
        self.send_response(Fickle.status)
        for name, value in {"Content-Length": str(len(Fickle.body)), **Fickle.headers_sent}.items():
            self.send_header(name, value)
        self.end_headers()
        with suppress(ConnectionError):
            self._answer()

    def _answer(self) -> None:
        if not Fickle.pause:
            self.wfile.write(Fickle.body)
            return
        for sign in Fickle.body:
            self.wfile.write(bytes([sign]))
            time.sleep(Fickle.pause)

    do_POST = do_GET  # noqa: N815  # the name that the base class looks for

    def log_message(self, *_: Any) -> None:
        pass


@pytest.fixture
def url() -> Iterator[str]:
    Fickle.status, Fickle.headers_sent, Fickle.body, Fickle.asked = 200, {}, b"{}", []
    server = ThreadingHTTPServer(("127.0.0.1", 0), Fickle)
    server.daemon_threads = True
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    yield f"http://127.0.0.1:{server.server_port}"
    server.shutdown()
    server.server_close()
    thread.join()


def client(url: str) -> Client:
    return Client(url, "palyra", "https://palyra.example.com/auth/callback/oidc", "s")


def provider(url: str) -> Provider:
    return Provider(url, f"{url}/go", f"{url}/token", f"{url}/keys", False, "client_secret_basic")


def says(document: object, status: int = 200, headers: dict[str, str] | None = None) -> None:
    Fickle.body = document if isinstance(document, bytes) else json.dumps(document).encode()
    Fickle.status, Fickle.headers_sent = status, headers or {}


def test_a_provider_is_read_from_its_well_known_place(url: str) -> None:
    says(
        {
            "issuer": url,
            "authorization_endpoint": f"{url}/go",
            "token_endpoint": f"{url}/token",
            "jwks_uri": f"{url}/keys",
        }
    )
    assert discover(client(url)) == provider(url)
    assert Fickle.asked[0][:2] == ("GET", "/.well-known/openid-configuration")


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308, 401, 404, 500, 503])
def test_any_other_answer_than_200_is_no_provider_and_no_redirect_is_followed(url: str, status: int) -> None:
    says({}, status, {"Location": f"{url}/elsewhere"})
    for ask in (lambda: discover(client(url)), lambda: fetch_keys(provider(url))):
        with pytest.raises(UnavailableError) as caught:
            ask()
        assert caught.value.code == "oidc_unavailable"
    assert "/elsewhere" not in [path for _, path, _, _ in Fickle.asked]


@pytest.mark.parametrize(
    "body",
    [b"", b"<html>", b"[]", b"null", b'"x"', b"{", b"\xff", b"[" * 60000, b"{}" + b" " * MAX_BYTES],
)
def test_what_is_no_small_json_object_is_no_answer(url: str, body: bytes) -> None:
    says(body)
    with pytest.raises(UnavailableError):
        fetch_keys(provider(url))


def test_a_zip_bomb_is_measured_unpacked(url: str) -> None:
    says(gzip.compress(b'{"a":"' + b"x" * 10_000_000 + b'"}'), headers={"Content-Encoding": "gzip"})
    with pytest.raises(UnavailableError):
        fetch_keys(provider(url))


def test_nobody_there_is_no_answer() -> None:
    with pytest.raises(UnavailableError):
        discover(client(f"http://127.0.0.1:{free_port()}"))


def test_an_answer_that_drips_is_over_in_time(url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(oidc_http, "SECONDS", 0.5)
    monkeypatch.setattr(Fickle, "pause", 0.2)
    says(b'{"keys": []' + b" " * 50 + b"}")
    with pytest.raises(UnavailableError):
        fetch_keys(provider(url))


@pytest.mark.parametrize("name", ["HTTP_PROXY", "http_proxy", "ALL_PROXY"])
def test_no_proxy_of_the_environment_is_asked(url: str, monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    monkeypatch.setenv(name, f"http://127.0.0.1:{free_port()}")
    says({"keys": []})
    assert fetch_keys(provider(url)) == {"keys": []}


def test_the_code_is_exchanged_by_post_and_the_answer_returned(url: str) -> None:
    says({"id_token": "x"})
    assert exchange(provider(url), client(url), code="c", verifier="v" * 43) == {"id_token": "x"}
    method, path, headers, body = Fickle.asked[0]
    assert (method, path) == ("POST", "/token")
    assert headers["Authorization"].startswith("Basic ")
    assert b"code_verifier=" in body


@pytest.mark.parametrize("status", [400, 401, 403, 302])
def test_a_code_that_the_provider_refuses_proves_nobody(url: str, status: int) -> None:
    says({"error": "invalid_grant"}, status)
    with pytest.raises(OidcRefusedError):
        exchange(provider(url), client(url), code="c", verifier="v" * 43)
    assert len(Fickle.asked) == 1


def test_a_provider_in_trouble_is_told_from_a_refusal(url: str) -> None:
    says({}, 502)
    with pytest.raises(UnavailableError):
        exchange(provider(url), client(url), code="c", verifier="v" * 43)


def test_what_the_provider_sends_stays_out_of_the_errors(url: str, caplog: pytest.LogCaptureFixture) -> None:
    says({"error": "x" * 500, "access_token": "opaque-and-secret"}, 400)
    with pytest.raises(OidcRefusedError) as caught:
        exchange(provider(url), client(url), code="c-0de", verifier="v" * 43)
    told = caplog.text + str(caught.value)
    assert "opaque-and-secret" not in told
    assert "c-0de" not in told
    assert "x" * 100 not in told
