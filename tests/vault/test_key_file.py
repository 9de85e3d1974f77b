from __future__ import annotations

import os
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path

import pytest

from kernel.errors import UnavailableError
from vault.backends.key_file import KeyFileProvider
from vault.envelope import IntegrityError, aad

CONTEXT = aad("test")


@pytest.fixture
def directory(tmp_path: Path) -> Path:
    return tmp_path / "keys"


@pytest.fixture
def provider(directory: Path) -> KeyFileProvider:
    return KeyFileProvider(directory)


def code_of(work: Callable[[], object]) -> str:
    with pytest.raises(UnavailableError) as caught:
        work()
    return caught.value.code


def test_a_new_key_is_private_and_alone_in_its_directory(provider: KeyFileProvider, directory: Path) -> None:
    locator = provider.create(1)
    assert locator == "vault-kek-1.key"
    assert [path.name for path in directory.iterdir()] == [locator]
    assert (directory / locator).stat().st_mode & 0o777 == 0o600
    assert directory.stat().st_mode & 0o777 == 0o700
    assert len((directory / locator).read_bytes()) == 32


def test_a_key_that_exists_is_kept(provider: KeyFileProvider, directory: Path) -> None:
    first = (directory / provider.create(1)).read_bytes()
    KeyFileProvider(directory).create(1)
    assert (directory / "vault-kek-1.key").read_bytes() == first


def test_many_at_once_make_one_whole_key(directory: Path) -> None:
    def start(_: int) -> bytes:
        one = KeyFileProvider(directory)
        return one.check_value(one.create(1))

    with ThreadPoolExecutor(8) as pool:
        assert len(set(pool.map(start, range(32)))) == 1
    assert len(list(directory.iterdir())) == 1


def test_a_wrapped_key_opens_in_its_context_only(provider: KeyFileProvider) -> None:
    locator = provider.create(1)
    wrapped = provider.wrap(locator, b"k" * 32, CONTEXT)
    assert b"k" * 8 not in wrapped
    assert provider.unwrap(locator, wrapped, CONTEXT) == b"k" * 32
    with pytest.raises(IntegrityError):
        provider.unwrap(locator, wrapped, aad("other"))
    with pytest.raises(IntegrityError):
        provider.unwrap(provider.create(2), wrapped, CONTEXT)


@pytest.mark.parametrize("mode", [0o644, 0o640, 0o602, 0o710])
def test_an_open_file_is_refused_until_it_is_closed(
    provider: KeyFileProvider, directory: Path, mode: int
) -> None:
    locator = provider.create(1)
    (directory / locator).chmod(mode)
    assert code_of(lambda: provider.check_value(locator)) == "vault.kek_insecure"
    (directory / locator).chmod(0o600)
    assert len(provider.check_value(locator)) == 16


def test_an_open_directory_is_refused(provider: KeyFileProvider, directory: Path) -> None:
    locator = provider.create(1)
    directory.chmod(0o755)
    assert code_of(lambda: provider.check_value(locator)) == "vault.kek_insecure"
    assert code_of(lambda: provider.create(2)) == "vault.kek_insecure"


def test_a_file_of_somebody_else_is_refused(
    provider: KeyFileProvider, monkeypatch: pytest.MonkeyPatch
) -> None:
    locator = provider.create(1)
    monkeypatch.setattr(os, "geteuid", lambda: 4_000_000)
    assert code_of(lambda: provider.check_value(locator)) == "vault.kek_insecure"


def test_a_removed_file_is_missed_at_the_next_use(provider: KeyFileProvider, directory: Path) -> None:
    locator = provider.create(1)
    kept = (directory / locator).read_bytes()
    check = provider.check_value(locator)
    (directory / locator).unlink()
    assert code_of(lambda: provider.check_value(locator)) == "vault.kek_missing"
    (directory / locator).write_bytes(kept)
    (directory / locator).chmod(0o600)
    assert provider.check_value(locator) == check


def test_a_replaced_file_is_another_key(provider: KeyFileProvider, directory: Path) -> None:
    locator = provider.create(1)
    check = provider.check_value(locator)
    (directory / locator).write_bytes(b"x" * 32)
    assert provider.check_value(locator) != check


@pytest.mark.parametrize("size", [0, 31, 33, 100_000])
def test_a_file_that_is_no_key_is_refused(provider: KeyFileProvider, directory: Path, size: int) -> None:
    locator = provider.create(1)
    (directory / locator).write_bytes(b"x" * size)
    assert code_of(lambda: provider.check_value(locator)) == "vault.kek_wrong"


def test_links_directories_and_pipes_are_no_key_files(
    provider: KeyFileProvider, directory: Path, tmp_path: Path
) -> None:
    provider.create(1)
    (tmp_path / "elsewhere").write_bytes(b"x" * 32)
    (tmp_path / "elsewhere").chmod(0o600)
    (directory / "vault-kek-2.key").symlink_to(tmp_path / "elsewhere")
    (directory / "vault-kek-3.key").mkdir(mode=0o700)
    os.mkfifo(directory / "vault-kek-4.key", 0o600)
    for number in (2, 3, 4):
        assert code_of(partial(provider.create, number)) == "vault.kek_insecure"


def test_nothing_prints_a_key(provider: KeyFileProvider, directory: Path) -> None:
    key = (directory / provider.create(1)).read_bytes()
    loaded = provider._load("vault-kek-1.key")
    assert repr(key) not in repr(loaded)
    assert repr(loaded.check) not in repr(loaded)
