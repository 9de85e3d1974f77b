"""A file that somebody sends is read as a bundle of evidence, or is said to be none."""

from __future__ import annotations

import zipfile
from pathlib import Path

import pytest

from palyra_site.cli.failures import CliError
from palyra_site.cli.offline_bundle import check_bundle


def _packed(place: Path, method: int) -> Path:
    path = place / "evidence.zip"
    with zipfile.ZipFile(path, "w", method) as archive:
        archive.writestr("manifest.json", '{"files":{},"events":[]}' * 40)
    return path


@pytest.mark.parametrize("method", [zipfile.ZIP_DEFLATED, zipfile.ZIP_LZMA, zipfile.ZIP_BZIP2])
def test_damaged_compression_is_no_bundle(tmp_path: Path, method: int) -> None:
    path = _packed(tmp_path, method)
    data = bytearray(path.read_bytes())
    start = 30 + len("manifest.json")
    data[start : start + 8] = b"\xff" * 8
    path.write_bytes(data)
    with pytest.raises(CliError) as refused:
        check_bundle(path, None)
    assert refused.value.code == "not_checked"


def test_a_file_that_stands_twice_is_no_bundle(tmp_path: Path) -> None:
    path = _packed(tmp_path, zipfile.ZIP_STORED)
    with zipfile.ZipFile(path, "a") as archive, pytest.warns(UserWarning, match="Duplicate name"):
        archive.writestr("manifest.json", "{}")
    with pytest.raises(CliError) as refused:
        check_bundle(path, None)
    assert refused.value.code == "not_checked"
