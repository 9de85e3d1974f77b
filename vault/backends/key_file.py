"""Key-encryption keys as files: `vault-kek-<n>.key`, 32 raw bytes, 0600 in a 0700 directory."""

from __future__ import annotations

import contextlib
import os
import secrets
import stat
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

from kernel.errors import UnavailableError
from vault import envelope


@dataclass(frozen=True, slots=True)
class _Loaded:
    """A key with the marks of the file it was read from; other marks mean another file."""

    marks: tuple[int, ...]
    key: bytes = field(repr=False)
    check: bytes = field(repr=False)


class KeyFileProvider:
    """Reads a key once and asks the file system at every use whether the file is still the same.

    So a removed, replaced or opened-up file is noticed at the next use, and a restored one works
    without a restart. Every failure is an UnavailableError: `vault.kek_missing` or
    `vault.kek_insecure`.
    """

    kind = "key_file"

    def __init__(self, directory: Path) -> None:
        self._directory = directory
        self._loaded: dict[str, _Loaded] = {}

    def create(self, number: int) -> str:
        """Return the locator of key `number`, made now unless the file exists.

        A file that exists is kept: it is the key of a start that was cut short, or of another
        process that is starting at this moment.
        """
        locator = f"vault-kek-{number}.key"
        self._directory.mkdir(mode=0o700, parents=True, exist_ok=True)
        _require_private(os.stat(self._directory), stat.S_ISDIR)
        if not os.path.lexists(self._directory / locator):
            _publish(self._directory, locator, secrets.token_bytes(envelope.KEY_BYTES))
        self._load(locator)
        return locator

    def check_value(self, locator: str) -> bytes:
        return self._load(locator).check

    def wrap(self, locator: str, data_key: bytes, context: bytes) -> bytes:
        return envelope.seal(data_key, key=self._load(locator).key, context=context).joined()

    def unwrap(self, locator: str, wrapped: bytes, context: bytes) -> bytes:
        sealed = envelope.Sealed.split(wrapped)
        return envelope.open_sealed(sealed, key=self._load(locator).key, context=context)

    def _load(self, locator: str) -> _Loaded:
        path = self._directory / locator
        try:
            _require_private(os.stat(self._directory), stat.S_ISDIR)
            status = os.stat(path, follow_symlinks=False)
            _require_private(status, stat.S_ISREG)
            known = self._loaded.get(locator)
            if known is None or known.marks != _marks(status):
                known = self._loaded[locator] = _read(path)
        except OSError:
            self._loaded.pop(locator, None)
            raise UnavailableError("vault.kek_missing", f"The key file {locator} cannot be read.") from None
        except UnavailableError:
            self._loaded.pop(locator, None)
            raise
        return known


def _read(path: Path) -> _Loaded:
    handle = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    with os.fdopen(handle, "rb") as file:
        status = os.fstat(file.fileno())
        _require_private(status, stat.S_ISREG)
        key = file.read(envelope.KEY_BYTES + 1)
    if len(key) != envelope.KEY_BYTES:
        raise UnavailableError("vault.kek_wrong", f"The key file {path.name} does not hold 32 bytes.")
    return _Loaded(marks=_marks(status), key=key, check=envelope.check_value(key))


def _marks(status: os.stat_result) -> tuple[int, ...]:
    return (status.st_dev, status.st_ino, status.st_size, status.st_mtime_ns, status.st_ctime_ns)


def _require_private(status: os.stat_result, is_kind: Callable[[int], bool]) -> None:
    if not is_kind(status.st_mode) or status.st_uid != os.geteuid() or stat.S_IMODE(status.st_mode) & 0o077:
        raise UnavailableError(
            "vault.kek_insecure", "A key file must be 0600 in a 0700 directory, both of the server's user."
        )


def _publish(directory: Path, name: str, key: bytes) -> None:
    """Let the complete file appear under its name at once; who comes second changes nothing."""
    draft = directory / f".{name}.{secrets.token_hex(8)}"
    handle = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
    try:
        with os.fdopen(handle, "wb") as file:
            file.write(key)
            file.flush()
            os.fsync(file.fileno())
        with contextlib.suppress(FileExistsError):
            os.link(draft, directory / name)
    finally:
        os.unlink(draft)
    _sync_directory(directory)


def _sync_directory(directory: Path) -> None:
    handle = os.open(directory, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
