"""One HTTP exchange with a Palyra server: credential, retries, and errors as one exception."""

from __future__ import annotations

import json
import random
import ssl
import uuid
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import httpx

from palyra_site.cli.exits import Exit, exit_for
from palyra_site.cli.failures import CliError, UsageError
from palyra_site.cli.settings import Settings
from palyra_site.cli.version import VERSION
from palyra_site.cli.world import World

ARCHIVE = "application/zip"
RETRIES = 3
FIRST_PAUSE = 0.2
LONGEST_PAUSE = 90.0
_SAFE = frozenset({"GET", "HEAD", "OPTIONS"})
# What reaches no server, or may have reached it without an answer.
_NOT_SENT = (httpx.ConnectError, httpx.ConnectTimeout)
_UNANSWERED = (
    httpx.ReadTimeout,
    httpx.ReadError,
    httpx.WriteError,
    httpx.WriteTimeout,
    httpx.RemoteProtocolError,
)


@dataclass(frozen=True, slots=True)
class Answer:
    """A successful answer. `text` is the body as the server wrote it, empty when `content` is no text."""

    status: int
    headers: Mapping[str, str]
    text: str
    content: bytes = b""

    @property
    def value(self) -> object:
        """The JSON value of the body, or CliError when it is none."""
        try:
            return json.loads(self.text)
        except (ValueError, RecursionError) as error:
            raise _invalid("The server's answer is no JSON.") from error

    @property
    def data(self) -> dict[str, Any]:
        """The JSON object of the body, or CliError when it is none."""
        value = self.value
        if not isinstance(value, dict):
            raise _invalid("The server's answer is no JSON object.")
        return value

    @property
    def retry_after(self) -> float | None:
        """Seconds the server asks to wait, if it does."""
        return _seconds(self.headers.get("Retry-After"))


@dataclass(frozen=True, slots=True)
class Query:
    """One request. `key` is the Idempotency-Key; a POST without one gets a fresh one.

    `raw` is a body that is no JSON, with its content type.
    """

    method: str
    path: str
    params: Mapping[str, Any] | None = None
    body: object = None
    raw: tuple[bytes, str] | None = None
    headers: Mapping[str, str] | None = None
    key: str | None = None
    patience: float = 0.0
    retry: bool = True


class Connection:
    """Sends requests to one origin. Follows no redirect and uses no proxy for loopback.

    `note` receives one line per exchange with its level, 1 or 2; none of them holds the credential.
    """

    def __init__(self, settings: Settings, world: World, note: Callable[[int, str], None]) -> None:
        self._settings = settings
        self._world = world
        self._note = note
        self._http = httpx.Client(
            base_url=settings.origin,
            transport=world.transport,
            verify=_trust(settings),
            trust_env=not settings.loopback,
            follow_redirects=False,
            headers=_common_headers(settings),
        )

    def close(self) -> None:
        self._http.close()

    def send(self, query: Query) -> Answer:
        """Return the answer of 2xx, or raise CliError.

        429, 503, failed connections and, where a repeat is harmless, missing answers are tried again
        up to three times with the same Idempotency-Key, after what Retry-After says.
        """
        request = self._request(query)
        for attempt in range(RETRIES + 1):
            last = attempt == RETRIES or not query.retry
            pause = self._pause(attempt)
            try:
                response = self._exchange(request)
            except httpx.TransportError as error:
                if last or not _may_repeat(error, request):
                    raise self._unreachable(error) from error
            else:
                if last or not _asks_to_repeat(response, attempt):
                    return _answer(response)
                pause = _seconds(response.headers.get("Retry-After")) or pause
                if pause > LONGEST_PAUSE:
                    return _answer(response)
            self._note(1, f"trying again in {pause:.1f} s")
            self._world.sleep(pause)
        raise AssertionError("the last attempt returns or raises")

    def lines(self, query: Query, accept: str) -> Iterator[str]:
        """Yield the lines of an answer as they arrive, or raise CliError; nothing is tried again."""
        with self._opened(query, accept) as response:
            yield from response.iter_lines()

    def pieces(self, query: Query, accept: str) -> Iterator[bytes]:
        """Yield the bytes of an answer as they arrive, or raise CliError; nothing is tried again."""
        with self._opened(query, accept) as response:
            yield from response.iter_bytes()

    @contextmanager
    def _opened(self, query: Query, accept: str) -> Iterator[httpx.Response]:
        request = self._request(query)
        request.headers["Accept"] = accept
        try:
            response = self._http.send(request, stream=True)
        except httpx.TransportError as error:
            raise self._unreachable(error) from error
        try:
            if not response.is_success:
                response.read()
                _answer(response)
            yield response
        except httpx.TransportError as error:
            raise self._unreachable(error) from error
        finally:
            response.close()

    def _request(self, query: Query) -> httpx.Request:
        headers = dict(query.headers or {})
        content = None
        if query.raw is not None:
            content, headers["Content-Type"] = query.raw
        elif query.body is not None:
            content = json.dumps(query.body).encode("ascii")
            headers["Content-Type"] = "application/json; charset=utf-8"
        if query.method == "POST":
            headers["Idempotency-Key"] = query.key or new_key()
        timeout = httpx.Timeout(self._settings.timeout, read=self._settings.timeout + query.patience)
        return self._http.build_request(
            query.method, query.path, params=query.params, content=content, headers=headers, timeout=timeout
        )

    def _exchange(self, request: httpx.Request) -> httpx.Response:
        started = self._world.monotonic()
        response = self._http.send(request)
        elapsed = (self._world.monotonic() - started) * 1000
        self._note(1, f"{request.method} {request.url} → {response.status_code} in {elapsed:.0f} ms")
        if response.headers.get("Idempotency-Replayed") == "true":
            self._note(1, "Idempotency-Replayed: true")
        for name, value in response.headers.items():
            self._note(2, f"< {name}: {value}")
        return response

    def _pause(self, attempt: int) -> float:
        return FIRST_PAUSE * float(2**attempt) * random.uniform(1.0, 1.25)  # noqa: S311 - spreads clients, guards nothing

    def _unreachable(self, error: httpx.TransportError) -> CliError:
        origin = self._settings.origin
        if _is_tls(error):
            return CliError(
                "tls", f"{origin} is not trusted.", exit_code=Exit.UNREACHABLE, hint="use --ca-file FILE"
            )
        if isinstance(error, httpx.TimeoutException):
            return CliError("timeout", f"{origin} did not answer in time.", exit_code=Exit.UNREACHABLE)
        if isinstance(error, httpx.ConnectError):
            hint = "; start it with make run" if self._settings.loopback else ""
            return CliError("connection", f"{origin} refused{hint}", exit_code=Exit.UNREACHABLE)
        return CliError("connection", f"The connection to {origin} broke.", exit_code=Exit.UNREACHABLE)


def new_key() -> str:
    """Return an Idempotency-Key nobody else has."""
    return f"cli-{uuid.uuid4().hex}"


def _common_headers(settings: Settings) -> dict[str, str]:
    headers = {"User-Agent": f"palyra-cli/{VERSION}", "Accept": "application/json, application/problem+json"}
    if settings.token:
        headers["Authorization"] = f"Bearer {settings.token}"
    return headers


def _trust(settings: Settings) -> ssl.SSLContext | bool:
    profile = settings.profile
    if settings.origin.startswith("http://"):
        return True
    try:
        context = ssl.create_default_context(cafile=settings.ca_file)
        if profile and profile.client_cert:
            context.load_cert_chain(profile.client_cert, profile.client_key)
    except OSError as error:
        raise UsageError("The certificate files cannot be used.") from error
    return context


def _may_repeat(error: httpx.TransportError, request: httpx.Request) -> bool:
    if _is_tls(error):
        return False
    if isinstance(error, _NOT_SENT):
        return True
    repeatable = request.method in _SAFE or "Idempotency-Key" in request.headers
    return repeatable and isinstance(error, _UNANSWERED)


def _asks_to_repeat(response: httpx.Response, attempt: int) -> bool:
    if response.status_code in {429, 503}:
        return True
    # After an unanswered attempt of ours the server may still be at work on it under this key.
    return attempt > 0 and _problem(response).get("code") == "idempotency_in_progress"


def _is_tls(error: BaseException | None) -> bool:
    while error is not None:
        if isinstance(error, ssl.SSLError):
            return True
        error = error.__cause__ or error.__context__
    return False


def _answer(response: httpx.Response) -> Answer:
    if response.is_success:
        text = "" if response.headers.get("Content-Type") == ARCHIVE else _text(response)
        return Answer(response.status_code, response.headers, text, response.content)
    problem = _problem(response)
    code = problem.get("code")
    code = code if isinstance(code, str) else None
    raise CliError(
        code or "unexpected_answer",
        str(problem.get("detail") or f"The server answered {response.status_code}."),
        exit_code=exit_for(response.status_code, code),
        hint=_hint(response.status_code, problem),
        document=problem or None,
    )


def _text(response: httpx.Response) -> str:
    try:
        return response.content.decode("utf-8")
    except UnicodeDecodeError as error:
        raise _invalid("The server's answer is not UTF-8.") from error


def _invalid(detail: str) -> CliError:
    return CliError("invalid_answer", detail, exit_code=Exit.INTERNAL)


def _problem(response: httpx.Response) -> dict[str, Any]:
    """Return the problem document of an answer, empty when there is none."""
    if response.is_success or "json" not in response.headers.get("Content-Type", ""):
        return {}
    try:
        value: object = response.json()
    except ValueError:
        return {}
    return value if isinstance(value, dict) else {}


def _hint(status: int, problem: Mapping[str, Any]) -> str | None:
    code, outcome = problem.get("code"), problem.get("outcome")
    if code == "unauthenticated":
        return "palyra login, or set PALYRA_TOKEN, or PALYRA_HOME to the home of a local server"
    if code == "step_up_required":
        return "add --otp CODE with a fresh code"
    if isinstance(outcome, dict):
        return "; ".join(f"{name} {value}" for name, value in outcome.items() if value is not None)
    if 300 <= status < 400:
        return "redirects are not followed; give the server's own address"
    return None


def _seconds(value: str | None) -> float | None:
    if value is None or not value.isdecimal():
        return None
    return float(value)
