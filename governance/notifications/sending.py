"""One attempt to post a webhook: to addresses that were checked, within one limit of time."""

from __future__ import annotations

import socket
import ssl
import time
from collections.abc import Callable, Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import lru_cache

import httpcore

from governance.notifications.addresses import Reach, Target, may_connect, parse_target
from governance.safety.secrets import mask
from governance.safety.visible import visible

SECONDS = 10.0
MOST_READ = 4_096
MOST_EXCERPT = 1_024
LOOKUPS = ThreadPoolExecutor(max_workers=64, thread_name_prefix="webhook-lookup")
"""Four for each attempt that goes side by side: a name server that hangs outlasts the attempt."""

Resolve = Callable[[str, int, float], tuple[str, ...]]


@dataclass(frozen=True, slots=True)
class Answer:
    """What came of one attempt. `error` is a code when no answer came, else empty."""

    status: int | None
    error: str
    excerpt: str
    duration_ms: int


class RefusedAddressError(Exception):
    """The name leads to an address that no webhook is sent to."""


def resolve(host: str, port: int, seconds: float) -> tuple[str, ...]:
    """Return the addresses of a name within `seconds`. Raises TimeoutError or OSError."""
    lookup = LOOKUPS.submit(socket.getaddrinfo, host, port, type=socket.SOCK_STREAM)
    try:
        found = lookup.result(timeout=seconds)
    finally:
        lookup.cancel()  # one whose turn did not come is not made for nobody
    return tuple(dict.fromkeys(str(entry[4][0]) for entry in found))


@lru_cache(maxsize=1)
def trusted() -> ssl.SSLContext:
    """Return the context that checks certificates against the usual authorities."""
    return httpcore.default_ssl_context()


def post(
    url: str,
    headers: Mapping[str, str],
    body: bytes,
    *,
    reach: Reach,
    seconds: float = SECONDS,
    resolve: Resolve = resolve,
    tls: ssl.SSLContext | None = None,
) -> Answer:
    """Post once. Raises nothing: whatever goes wrong is an answer with an error code.

    The limit is for everything together: lookup, connecting, TLS, sending and reading, however slowly
    the other side feeds it. All addresses of the name must be allowed, and it is them that are
    connected to; the certificate must be of the name. No redirect is followed, no proxy is used, and
    an answer is read for its beginning only.
    """
    clock = _Clock(seconds)
    try:
        status, start = _exchange(url, headers, body, reach, clock, resolve, tls or trusted())
    except Exception as error:
        return Answer(None, _code_of(error), "", clock.spent_ms())
    return Answer(status, "", _excerpt(start), clock.spent_ms())


def _exchange(
    url: str,
    headers: Mapping[str, str],
    body: bytes,
    reach: Reach,
    clock: _Clock,
    resolve: Resolve,
    tls: ssl.SSLContext,
) -> tuple[int, bytes]:
    target = parse_target(url, reach)
    if target is None:
        raise RefusedAddressError
    backend = _Pinned(_checked(target, reach, resolve(target.host, target.port, clock.left())), clock)
    address = httpcore.URL(
        scheme=target.scheme.encode(),
        host=target.host.encode(),
        port=target.port,
        target=target.path.encode(),
    )
    sent = {"Host": target.authority, "Content-Length": str(len(body)), **headers}
    with (
        httpcore.ConnectionPool(ssl_context=tls, network_backend=backend, retries=0) as pool,
        pool.stream("POST", address, headers=list(sent.items()), content=body) as response,
    ):
        return response.status, _start_of(response.iter_stream())


def _checked(target: Target, reach: Reach, addresses: tuple[str, ...]) -> tuple[str, ...]:
    if not addresses or not all(may_connect(address, target, reach) for address in addresses):
        raise RefusedAddressError
    return addresses


def _start_of(chunks: Iterable[bytes]) -> bytes:
    read = b""
    for chunk in chunks:
        read += chunk
        if len(read) >= MOST_READ:
            break
    return read[:MOST_READ]


def _excerpt(start: bytes) -> str:
    """Return the beginning of an answer without secrets and without what a screen would obey."""
    shown = visible(mask(start.decode("utf-8", "replace")).text)
    return shown.encode()[:MOST_EXCERPT].decode(errors="ignore")


def _code_of(error: BaseException) -> str:
    causes = (error, error.__cause__, error.__context__)
    if isinstance(error, RefusedAddressError):
        return "address_refused"
    if isinstance(error, socket.gaierror):
        return "name_unknown"
    if isinstance(error, (TimeoutError, httpcore.TimeoutException)):
        return "timeout"
    if any(isinstance(cause, ssl.SSLError) for cause in causes):
        return "tls_failed"
    if isinstance(error, (OSError, httpcore.NetworkError)):
        return "connection_failed"
    if isinstance(error, httpcore.ProtocolError):
        return "protocol_error"
    return "internal"


class _Clock:
    """The time of one attempt."""

    def __init__(self, seconds: float) -> None:
        self._began = time.monotonic()
        self._ends = self._began + seconds

    def left(self) -> float:
        """Return the seconds that are left; TimeoutError when none is."""
        left = self._ends - time.monotonic()
        if left <= 0:
            raise TimeoutError
        return left

    def spent_ms(self) -> int:
        return int((time.monotonic() - self._began) * 1000)


class _Pinned(httpcore.NetworkBackend):
    """Connects to the given addresses whatever host is asked for, the next one when one refuses."""

    def __init__(self, addresses: tuple[str, ...], clock: _Clock) -> None:
        self._addresses = addresses
        self._clock = clock
        self._real = httpcore.SyncBackend()

    def connect_tcp(
        self,
        host: str,
        port: int,
        timeout: float | None = None,
        local_address: str | None = None,
        socket_options: Iterable[httpcore.SOCKET_OPTION] | None = None,
    ) -> httpcore.NetworkStream:
        refused: Exception = OSError("no address")
        for address in self._addresses:
            try:
                stream = self._real.connect_tcp(address, port, timeout=self._clock.left())
            except httpcore.NetworkError as error:
                refused = error
            else:
                return _Timed(stream, self._clock)
        raise refused

    def connect_unix_socket(
        self,
        path: str,
        timeout: float | None = None,
        socket_options: Iterable[httpcore.SOCKET_OPTION] | None = None,
    ) -> httpcore.NetworkStream:
        raise RefusedAddressError


class _Timed(httpcore.NetworkStream):
    """A stream whose every step has only what is left of the whole attempt's time."""

    def __init__(self, stream: httpcore.NetworkStream, clock: _Clock) -> None:
        self._stream = stream
        self._clock = clock

    def read(self, max_bytes: int, timeout: float | None = None) -> bytes:
        return self._stream.read(max_bytes, timeout=self._clock.left())

    def write(self, buffer: bytes, timeout: float | None = None) -> None:
        self._stream.write(buffer, timeout=self._clock.left())

    def close(self) -> None:
        self._stream.close()

    def start_tls(
        self, ssl_context: ssl.SSLContext, server_hostname: str | None = None, timeout: float | None = None
    ) -> httpcore.NetworkStream:
        stream = self._stream.start_tls(ssl_context, server_hostname, timeout=self._clock.left())
        return _Timed(stream, self._clock)

    def get_extra_info(self, info: str) -> object:
        return self._stream.get_extra_info(info)
