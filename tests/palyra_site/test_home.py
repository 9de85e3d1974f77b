from __future__ import annotations

import os
import stat
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from threading import Barrier

import pytest
from django.core.exceptions import ImproperlyConfigured

from palyra_site.home import KEY_BYTES, instance_digest, older_key, sealing_key, secret_text


@pytest.fixture
def key_file(tmp_path: Path) -> Path:
    return tmp_path / "home" / "keys" / "secret.key"


def test_a_fresh_home_gets_a_key_that_only_its_owner_reads(key_file: Path) -> None:
    key = sealing_key(key_file)
    assert len(key) == KEY_BYTES
    assert stat.S_IMODE(key_file.stat().st_mode) == 0o600
    assert stat.S_IMODE(key_file.parent.stat().st_mode) == 0o700


def test_the_key_stays_the_same(key_file: Path) -> None:
    assert sealing_key(key_file) == sealing_key(key_file)


def test_two_homes_have_different_keys(tmp_path: Path) -> None:
    assert sealing_key(tmp_path / "a" / "secret.key") != sealing_key(tmp_path / "b" / "secret.key")


def test_a_home_that_lost_its_key_gets_no_other_one(key_file: Path) -> None:
    sealing_key(key_file)
    (key_file.parent / "kek-1.key").write_bytes(b"x" * KEY_BYTES)
    key_file.unlink()
    with pytest.raises(ImproperlyConfigured, match="missing"):
        sealing_key(key_file)
    assert not key_file.exists()


@pytest.mark.parametrize("mode", [0o640, 0o604, 0o644, 0o660, 0o601, 0o777])
def test_a_key_that_others_may_touch_is_refused(key_file: Path, mode: int) -> None:
    sealing_key(key_file)
    key_file.chmod(mode)
    with pytest.raises(ImproperlyConfigured, match="0600"):
        sealing_key(key_file)


def test_a_key_of_another_user_is_refused(key_file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    sealing_key(key_file)
    monkeypatch.setattr(os, "geteuid", lambda: key_file.stat().st_uid + 1)
    with pytest.raises(ImproperlyConfigured, match="belong to the server's user"):
        sealing_key(key_file)


@pytest.mark.parametrize("length", [0, 1, KEY_BYTES - 1])
def test_a_short_key_is_refused(key_file: Path, length: int) -> None:
    sealing_key(key_file)
    key_file.write_bytes(b"k" * length)
    with pytest.raises(ImproperlyConfigured, match="shorter"):
        sealing_key(key_file)


def test_processes_that_start_together_agree_on_one_key(tmp_path: Path) -> None:
    for attempt in range(20):
        path = tmp_path / str(attempt) / "keys" / "secret.key"
        barrier = Barrier(8)

        def start(_: int, path: Path = path, barrier: Barrier = barrier) -> bytes:
            barrier.wait()
            return sealing_key(path)

        with ThreadPoolExecutor(8) as threads:
            keys = set(threads.map(start, range(8)))
        assert len(keys) == 1


def test_the_name_of_an_instance_follows_its_home() -> None:
    here, there = instance_digest(Path("/srv/palyra")), instance_digest(Path("/srv/other"))
    assert here == instance_digest(Path("/srv/palyra"))
    assert here != there
    assert len(here) == 12


def a_secret(path: Path, content: bytes, mode: int = 0o600) -> str:
    path.write_bytes(content)
    path.chmod(mode)
    return str(path)


@pytest.mark.parametrize("content", [b"a client secret", b"a client secret\n", b"a client secret\r\n"])
def test_a_secret_is_the_one_line_of_its_file(tmp_path: Path, content: bytes) -> None:
    assert secret_text(a_secret(tmp_path / "secret", content)) == "a client secret"


def test_no_file_is_no_secret() -> None:
    assert secret_text("") == ""


@pytest.mark.parametrize("content", [b"", b"\n", b"two\nlines", b"nul\0", b"\xff\xfe\x00"])
def test_a_secret_file_with_anything_else_is_refused(tmp_path: Path, content: bytes) -> None:
    with pytest.raises(ImproperlyConfigured, match="one line of text"):
        secret_text(a_secret(tmp_path / "secret", content))


@pytest.mark.parametrize("mode", [0o640, 0o604, 0o644])
def test_a_secret_file_that_others_may_read_is_refused(tmp_path: Path, mode: int) -> None:
    with pytest.raises(ImproperlyConfigured, match="0600"):
        secret_text(a_secret(tmp_path / "secret", b"x", mode))


def test_a_secret_file_that_is_not_there_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ImproperlyConfigured, match="missing"):
        secret_text(str(tmp_path / "secret"))


def test_an_older_key_is_read_and_never_made(key_file: Path) -> None:
    with pytest.raises(ImproperlyConfigured, match="older key file"):
        older_key(key_file)
    assert not key_file.parent.exists()
    made = sealing_key(key_file)
    assert older_key(key_file) == made


@pytest.mark.parametrize("mode", [0o644, 0o640, 0o604])
def test_an_older_key_that_others_may_read_is_refused(key_file: Path, mode: int) -> None:
    sealing_key(key_file)
    key_file.chmod(mode)
    with pytest.raises(ImproperlyConfigured, match="0600"):
        older_key(key_file)


def test_an_older_key_that_is_too_short_is_refused(key_file: Path) -> None:
    sealing_key(key_file)
    key_file.write_bytes(b"x" * (KEY_BYTES - 1))
    with pytest.raises(ImproperlyConfigured, match="shorter"):
        older_key(key_file)
