"""Packing and unpacking sets: byte for byte, and no trick of a zip gets anything else in."""

from __future__ import annotations

import contextlib
import io
import random
import stat
import struct
import warnings
import zipfile

import pytest
from hypothesis import given, settings, strategies as st

from kernel.errors import InvalidError
from policy.archive import MAX_ENTRIES, pack, pack_cedar, unpack
from policy.reading import MAX_TEXT_BYTES, SourceFile

RULE = 'permit (principal, action, resource); // "ünï"\r\n'
NAMES = st.one_of(
    st.from_regex(r"[a-z0-9_-]{1,12}\.cedar", fullmatch=True),
    st.from_regex(r"[a-z0-9_-]{1,12}\.test\.json", fullmatch=True),
)
LINES = st.one_of(
    st.text(st.characters(codec="utf-8"), max_size=30),
    st.sampled_from(["//# file: a.cedar", "//## file: x", "//| x", "", "//# file: ", "\r", "x" * 30_000]),
)
TEXTS = st.lists(LINES, max_size=5).map("\n".join)


def zipped(entries: dict[str, bytes], **attributes: int) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, data in entries.items():
            info = zipfile.ZipInfo(name)
            info.compress_type = zipfile.ZIP_DEFLATED
            for attribute, value in attributes.items():
                setattr(info, attribute, value)
            archive.writestr(info, data)
    return buffer.getvalue()


def refusal(data: bytes, name: str = "set.zip") -> str:
    with pytest.raises(InvalidError) as refused:
        unpack(data, name)
    return refused.value.errors[0].code


@settings(max_examples=150, deadline=None)
@given(st.dictionaries(NAMES, TEXTS, min_size=1, max_size=5))
def test_both_forms_come_back_byte_for_byte(content: dict[str, str]) -> None:
    files = tuple(SourceFile(name, content[name]) for name in sorted(content))
    assert unpack(pack(files), "x.zip") == files
    assert unpack(pack_cedar(files).encode(), "x.cedar") == files
    assert pack(files) == pack(files[::-1])


@settings(max_examples=100, deadline=None)
@given(st.binary(max_size=300))
def test_any_bytes_are_files_or_a_refusal(data: bytes) -> None:
    for content in (data, b"PK\x03\x04" + data, zipped({"a.cedar": b"x"})[:-30] + data):
        with contextlib.suppress(InvalidError):
            unpack(content, "x.zip")


def test_text_without_headers_is_one_file() -> None:
    assert unpack(RULE.encode(), "mine.cedar") == (SourceFile("mine.cedar", RULE),)
    assert unpack(RULE.encode(), "../../etc/x.cedar") == (SourceFile("policies.cedar", RULE),)


def test_one_file_with_its_tests_is_still_cedar_text() -> None:
    tests = SourceFile("a.test.json", '[{"name": "x"}]\n')
    text = pack_cedar([SourceFile("a.cedar", RULE), tests])
    assert text.splitlines()[-2:] == ['//| [{"name": "x"}]', "//| "]


@pytest.mark.parametrize(
    "name",
    [
        "../a.cedar", "/a.cedar", "a/b.cedar", "a\\b.cedar", "C:a.cedar", "a.cedar/", ".cedar", "A.cedar",
        "a.txt", "a.json", "a .cedar", "a.cedar ", f"{'a' * 65}.cedar", "ä.cedar", "",
        "a.cedar\n", ".test.json", "a.test.json.cedar",
    ],
)  # fmt: skip
def test_names_that_are_no_file_of_a_set_are_refused(name: str) -> None:
    assert refusal(zipped({name: b"x"})) == "bad_archive"
    if "\n" not in name:
        assert refusal(f"//# file: {name}\nx".encode(), "x.cedar") == "bad_archive"


def test_name_that_differs_after_nul_is_refused() -> None:
    data = zipped({"a.cedarXYZ": b"x"}).replace(b"a.cedarXYZ", b"a.cedar\0YZ")
    assert refusal(data) == "bad_archive"


@pytest.mark.parametrize("mode", [stat.S_IFLNK | 0o777, stat.S_IFDIR | 0o755, stat.S_IFIFO, stat.S_IFCHR])
def test_links_and_directories_are_refused(mode: int) -> None:
    assert refusal(zipped({"a.cedar": b"/etc/passwd"}, external_attr=mode << 16)) == "bad_archive"
    assert refusal(zipped({"a.cedar": b"x"}, external_attr=mode << 16, create_system=0)) == "bad_archive"


def test_two_files_of_one_name_are_refused() -> None:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive, warnings.catch_warnings():
        warnings.simplefilter("ignore")
        archive.writestr("a.cedar", "1")
        archive.writestr("a.cedar", "2")
    assert refusal(buffer.getvalue()) == "bad_archive"
    assert refusal(b"//# file: a.cedar\n1\n//# file: a.cedar\n2", "x.cedar") == "bad_archive"


def test_too_many_entries_are_refused() -> None:
    many = {f"f{number}.cedar": b"x" for number in range(MAX_ENTRIES + 1)}
    assert refusal(zipped(many)) == "too_large"
    many.popitem()
    assert len(unpack(zipped(many), "x.zip")) == MAX_ENTRIES
    text = "\n".join(f"//# file: f{number}.cedar" for number in range(MAX_ENTRIES + 1))
    assert refusal(text.encode(), "x.cedar") == "too_large"


def test_directory_of_a_hundred_thousand_entries_is_refused_unread() -> None:
    entry = b"PK\x01\x02" + bytes(42)
    assert refusal(b"PK\x03\x04" + entry * 100_000) == "too_large"


def test_bombs_are_refused() -> None:
    assert refusal(zipped({"a.cedar": b" " * 1_000_000})) == "too_large"
    assert refusal(zipped({"a.cedar": b"x" * (MAX_TEXT_BYTES + 1)})) == "too_large"
    half = bytes(range(32, 126)) * (MAX_TEXT_BYTES // 180)
    stored = {f"{name}.cedar": half for name in "ab"}
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, data in stored.items():
            archive.writestr(name, data)
    assert refusal(buffer.getvalue()) == "too_large"
    assert refusal(b"x" * (MAX_TEXT_BYTES + 1)) == "too_large"


def test_two_files_that_are_too_large_together_are_refused() -> None:
    generator = random.Random(1)
    text = "".join(generator.choices("0123456789abcdef", k=MAX_TEXT_BYTES // 2 + 1)).encode()
    assert refusal(zipped({"a.cedar": text, "b.cedar": text})) == "too_large"


@pytest.mark.parametrize("claimed", [1, 10, 2**32 - 2])
def test_lying_size_does_not_help(claimed: int) -> None:
    """The sizes in both headers are replaced; what counts is what comes out."""
    data = bytearray(zipped({"a.cedar": b"permit " * 100}))
    central = data.index(b"PK\x01\x02")
    data[22:26] = data[central + 24 : central + 28] = struct.pack("<I", claimed)
    assert refusal(bytes(data)) in {"bad_archive", "too_large"}


def test_lying_compressed_size_does_not_raise_the_ratio() -> None:
    data = bytearray(zipped({"a.cedar": b" " * 1_000_000}))
    central = data.index(b"PK\x01\x02")
    data[18:22] = data[central + 20 : central + 24] = struct.pack("<I", 50_000)
    assert refusal(bytes(data)) in {"bad_archive", "too_large"}


def test_encrypted_and_exotic_entries_are_refused() -> None:
    data = bytearray(zipped({"a.cedar": b"x"}))
    central = data.index(b"PK\x01\x02")
    data[central + 8] |= 1
    assert refusal(bytes(data)) == "bad_archive"
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_LZMA) as archive:
        archive.writestr("a.cedar", "x")
    assert refusal(buffer.getvalue()) == "bad_archive"


def test_text_that_is_not_utf8_is_refused() -> None:
    assert refusal(zipped({"a.cedar": b"\xff"})) == "not_utf8"
    assert refusal(b"permit \xc3(", "a.cedar") == "not_utf8"


def test_damaged_or_empty_archives_are_refused() -> None:
    good = zipped({"a.cedar": b"permit"})
    assert refusal(good[:-4]) == "bad_archive"
    assert refusal(b"PK\x03\x04") == "bad_archive"
    assert refusal(zipped({})) == "bad_archive"
    assert refusal(good.replace(b"a.cedar", b"b.cedar", 1)) == "bad_archive"


def test_text_before_the_first_header_is_refused() -> None:
    assert refusal(b"permit\n//# file: a.cedar\nx", "x.cedar") == "bad_archive"


def test_test_file_must_stay_a_comment() -> None:
    assert refusal(b"//# file: a.test.json\n{}", "x.cedar") == "bad_archive"
