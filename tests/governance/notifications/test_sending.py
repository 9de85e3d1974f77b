"""One attempt over real sockets: where it connects, what it believes, and when it ends."""

from __future__ import annotations

import datetime as dt
import ipaddress
import socket
import ssl
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from threading import Event, Thread

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID
from standardwebhooks import Webhook

from governance.notifications import sending
from governance.notifications.addresses import Reach
from governance.notifications.sending import Answer, post
from governance.notifications.signing import secret_text, signed_headers
from kernel.clock import utc_now

DEBUG, PRIVATE = Reach(plain_loopback=True), Reach(private=True)
BODY = b'{"type":"approval.requested"}'
NAME = "hooks.example.com"
OK = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"

Script = Callable[[socket.socket, Event], None]


@dataclass
class Peer:
    """A server of one script. `heard` is what each connection sent."""

    port: int
    heard: list[bytes] = field(default_factory=list)


@contextmanager
def serving(script: Script, tls: ssl.SSLContext | None = None) -> Iterator[Peer]:
    """Serve each connection by `script`, which must end when its event is set."""
    over = Event()
    with socket.create_server(("127.0.0.1", 0)) as listener:
        listener.settimeout(0.05)
        peer = Peer(listener.getsockname()[1])

        def accept() -> None:
            while not over.is_set():
                with suppress(TimeoutError, OSError):
                    connection, _ = listener.accept()
                    connection.settimeout(5)
                    with connection, suppress(OSError):
                        talk(connection)

        def talk(connection: socket.socket) -> None:
            with tls.wrap_socket(connection, server_side=True) if tls else connection as stream:
                peer.heard.append(request_from(stream))
                script(stream, over)

        thread = Thread(target=accept)
        thread.start()
        try:
            yield peer
        finally:
            over.set()
            thread.join()


def request_from(stream: socket.socket) -> bytes:
    """Return one whole request of this file's body."""
    heard = b""
    while not heard.endswith(BODY):
        part = stream.recv(65_536)
        if not part:
            break
        heard += part
    return heard


def saying(answer: bytes) -> Script:
    return lambda connection, _: connection.sendall(answer)


def dripping(start: bytes, drop: bytes) -> Script:
    """Send `start`, then `drop` again and again: never silent for long, and never done."""

    def drip(connection: socket.socket, over: Event) -> None:
        connection.sendall(start)
        while not over.wait(0.02):
            connection.sendall(drop)

    return drip


def send(port: int, *, seconds: float = 5.0, path: str = "/hook?a=b") -> Answer:
    return post(f"http://127.0.0.1:{port}{path}", {"X-A": "b"}, BODY, reach=DEBUG, seconds=seconds)


def test_what_is_posted_is_what_was_signed() -> None:
    secret = b"s" * 32
    signed = signed_headers(
        message_id="evt_1", timestamp=int(utc_now().timestamp()), body=BODY, secrets=[secret]
    )
    with serving(saying(OK)) as peer:
        answer = post(f"http://localhost:{peer.port}/hook?a=b", signed, BODY, reach=DEBUG)
    head, _, body = peer.heard[0].partition(b"\r\n\r\n")
    first, *lines = head.decode().split("\r\n")
    headers = dict(line.split(": ", 1) for line in lines)
    assert (answer.status, answer.error, answer.excerpt) == (200, "", "ok")
    assert first == "POST /hook?a=b HTTP/1.1"
    assert headers["Host"] == f"localhost:{peer.port}"
    assert Webhook(secret_text(secret)).verify(body, headers) == {"type": "approval.requested"}


def test_no_proxy_of_the_environment_is_used(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("http_proxy", "https_proxy", "all_proxy", "HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY"):
        monkeypatch.setenv(name, "http://127.0.0.1:1")
    with serving(saying(OK)) as peer:
        assert send(peer.port).status == 200


def test_a_redirect_is_not_followed() -> None:
    with serving(saying(OK)) as other:
        elsewhere = f"HTTP/1.1 307 X\r\nLocation: http://127.0.0.1:{other.port}/\r\nContent-Length: 0\r\n\r\n"
        with serving(saying(elsewhere.encode())) as peer:
            assert send(peer.port).status == 307
        assert other.heard == []


def test_an_answer_is_shown_without_secrets_and_tricks() -> None:
    text = b"Authorization: Bearer abcdefgh12345678 \x1b[2J \xe2\x80\xae evil \x00" + b"x" * 3_000
    with serving(saying(b"HTTP/1.1 500 X\r\nConnection: close\r\n\r\n" + text)) as peer:
        excerpt = send(peer.port).excerpt
    assert "abcdefgh12345678" not in excerpt
    assert not {"\x1b", "\u202e", "\0"} & set(excerpt)
    assert len(excerpt.encode()) <= 1_024


@pytest.mark.parametrize(
    "script",
    [
        dripping(b"", b""),
        dripping(b"HTTP/1.1 200 OK\r\n", b"X-A: b\r\n"),
        dripping(b"", b"HTTP/1.1 100 Continue\r\n\r\n"),
        dripping(b"HTTP/1.1 200 OK\r\nContent-Length: 99999\r\n\r\n", b"."),
        dripping(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n", b"1\r\n.\r\n"),
    ],
    ids=["silence", "headers", "informational", "body", "chunks"],
)
def test_the_whole_attempt_has_one_limit_however_it_is_fed(script: Script) -> None:
    with serving(script) as peer:
        answer = send(peer.port, seconds=0.3)
    assert (answer.status, answer.error) == (None, "timeout")


def test_an_endless_answer_is_read_for_its_beginning_only() -> None:
    flood = dripping(
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n", b"400\r\n" + b"x" * 1_024 + b"\r\n"
    )
    with serving(flood) as peer:
        answer = send(peer.port)
    assert (answer.status, answer.excerpt) == (200, "x" * 1_024)


@pytest.mark.parametrize(
    ("said", "error"),
    [
        (b"SSH-2.0-OpenSSH_9.2\r\n\r\n", "protocol_error"),
        (b"", "protocol_error"),
        (b"HTTP/1.1 200 OK\r\nX: " + b"x" * 200_000 + b"\r\n\r\n", "protocol_error"),
    ],
)
def test_what_is_no_http_is_an_error(said: bytes, error: str) -> None:
    with serving(saying(said)) as peer:
        assert send(peer.port).error == error


def test_nobody_there_is_an_error() -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
    assert send(port).error == "connection_failed"


@pytest.mark.parametrize(
    "addresses",
    [
        ("169.254.169.254",),
        ("127.0.0.1",),
        ("10.0.0.1",),
        ("::1",),
        ("::ffff:127.0.0.1",),
        ("93.184.215.14", "127.0.0.1"),
        (),
    ],
)
def test_a_name_that_leads_inside_is_refused_before_anything_is_sent(addresses: tuple[str, ...]) -> None:
    with serving(saying(OK)) as peer:
        url = f"https://{NAME}:{peer.port}/"
        answer = post(url, {}, BODY, reach=Reach(), resolve=lambda *_: addresses)
    assert (answer.error, peer.heard) == ("address_refused", [])


def test_names_that_cannot_be_looked_up() -> None:
    def unknown(*_: object) -> tuple[str, ...]:
        raise socket.gaierror

    def hanging(*_: object) -> tuple[str, ...]:
        raise TimeoutError

    url = f"https://{NAME}/"
    assert post(url, {}, BODY, reach=Reach(), resolve=unknown).error == "name_unknown"
    assert post(url, {}, BODY, reach=Reach(), resolve=hanging).error == "timeout"
    assert post("http://169.254.169.254/", {}, BODY, reach=Reach()).error == "address_refused"


def test_a_lookup_that_hangs_ends_with_the_attempt(monkeypatch: pytest.MonkeyPatch) -> None:
    over = Event()
    monkeypatch.setattr(socket, "getaddrinfo", lambda *_, **__: over.wait(5) and [])
    try:
        assert post(f"https://{NAME}/", {}, BODY, reach=Reach(), seconds=0.1).error == "timeout"
    finally:
        over.set()


def test_a_lookup_whose_turn_did_not_come_is_not_made_later(monkeypatch: pytest.MonkeyPatch) -> None:
    over, asked = Event(), list[object]()

    def hang(host: str, *_: object, **__: object) -> list[object]:
        asked.append(host)
        over.wait(5)
        return []

    monkeypatch.setattr(socket, "getaddrinfo", hang)
    with ThreadPoolExecutor(max_workers=1) as one_at_a_time:
        monkeypatch.setattr(sending, "LOOKUPS", one_at_a_time)
        for host in ("first.example", "second.example"):
            assert post(f"https://{host}/", {}, BODY, reach=Reach(), seconds=0.05).error == "timeout"
        over.set()
    assert asked == ["first.example"]


def test_a_fault_of_ours_is_an_answer_too() -> None:
    def faulty(*_: object) -> tuple[str, ...]:
        raise ZeroDivisionError

    assert post(f"https://{NAME}/", {}, BODY, reach=Reach(), resolve=faulty).error == "internal"


@dataclass(frozen=True)
class Tls:
    server: ssl.SSLContext
    client: ssl.SSLContext


def tls_for(name: str, folder: Path) -> Tls:
    """Return both sides of a connection to a server whose certificate is of `name`."""
    key = ec.generate_private_key(ec.SECP256R1())
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
    now = dt.datetime.now(dt.UTC)
    certificate = (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(subject)
        .public_key(key.public_key())
        .serial_number(1)
        .not_valid_before(now - dt.timedelta(hours=1))
        .not_valid_after(now + dt.timedelta(hours=1))
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .add_extension(x509.SubjectAlternativeName([_general_name(name)]), critical=False)
        .sign(key, hashes.SHA256())
    )
    pem = certificate.public_bytes(serialization.Encoding.PEM)
    plain = serialization.NoEncryption()
    file = folder / f"{name}.pem"
    file.write_bytes(
        pem + key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, plain)
    )
    server = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    server.load_cert_chain(file)
    return Tls(server, ssl.create_default_context(cadata=pem.decode()))


def _general_name(name: str) -> x509.GeneralName:
    try:
        return x509.IPAddress(ipaddress.ip_address(name))
    except ValueError:
        return x509.DNSName(name)


def test_the_checked_address_is_connected_to_and_the_certificate_is_of_the_name(tmp_path: Path) -> None:
    """The name is looked up once: what it leads to afterwards does not matter."""
    tls, asked = tls_for(NAME, tmp_path), []

    def rebinding(host: str, port: int, seconds: float) -> tuple[str, ...]:
        asked.append(host)
        return ("127.0.0.1",) if len(asked) == 1 else ("169.254.169.254",)

    with serving(saying(OK), tls.server) as peer:
        url = f"https://{NAME}:{peer.port}/"
        answer = post(url, {}, BODY, reach=PRIVATE, resolve=rebinding, tls=tls.client)
    assert (answer.status, asked) == (200, [NAME])
    assert f"Host: {NAME}:{peer.port}".encode() in peer.heard[0]


def test_the_next_address_is_tried_when_one_refuses(tmp_path: Path) -> None:
    tls = tls_for(NAME, tmp_path)
    with serving(saying(OK), tls.server) as peer:
        url = f"https://{NAME}:{peer.port}/"
        both = ("127.0.0.77", "127.0.0.1")
        answer = post(url, {}, BODY, reach=PRIVATE, resolve=lambda *_: both, tls=tls.client)
    assert answer.status == 200


@pytest.mark.parametrize("name", ["evil.example.com", "127.0.0.1"])
def test_a_certificate_of_another_name_is_refused(tmp_path: Path, name: str) -> None:
    tls = tls_for(name, tmp_path)
    with serving(saying(OK), tls.server) as peer:
        url = f"https://{NAME}:{peer.port}/"
        answer = post(url, {}, BODY, reach=PRIVATE, resolve=lambda *_: ("127.0.0.1",), tls=tls.client)
    assert (answer.error, peer.heard) == ("tls_failed", [])


def test_a_certificate_of_no_authority_is_refused(tmp_path: Path) -> None:
    tls = tls_for(NAME, tmp_path)
    with serving(saying(OK), tls.server) as peer:
        url = f"https://{NAME}:{peer.port}/"
        answer = post(url, {}, BODY, reach=PRIVATE, resolve=lambda *_: ("127.0.0.1",))
    assert answer.error == "tls_failed"
    assert sending.trusted() is sending.trusted()
