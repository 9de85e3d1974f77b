"""Policy sets as one file: a zip, or one Cedar text. What was packed comes back byte for byte.

An archive is a stranger's: nothing that it says about itself is believed, only what was counted.
"""

from __future__ import annotations

import io
import re
import stat
import zipfile
import zlib
from collections.abc import Iterator, Sequence

from kernel.errors import Detail, InvalidError
from policy.reading import MAX_TEXT_BYTES, SourceFile
from policy.set_files import POLICY_NAME, TEST_NAME, is_file_name

MAX_ENTRIES = 200
MAX_RATIO = 100
SINGLE_NAME = "policies.cedar"
_CHUNK = 64 * 1024
_EPOCH = (1980, 1, 1, 0, 0, 0)
_UNIX = 3
_ENCRYPTED = 0x1
_ZIP_STARTS = (b"PK\x03\x04", b"PK\x05\x06")
_DIRECTORY_ENTRY = b"PK\x01\x02"
_HEADER = re.compile(r"//# file: (.*)", re.DOTALL)
_TAKEN = re.compile(r"//#+ file: ")
_COMMENTED = "//| "


def unacceptable(finding: str, detail: str) -> InvalidError:
    """Return the refusal of an archive; `finding` is too_large, not_utf8 or bad_archive."""
    return InvalidError("policy_invalid", detail, errors=(Detail("/archive", finding, detail),))


def pack(files: Sequence[SourceFile]) -> bytes:
    """Return the files as a zip, by name; equal sets give equal bytes."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        for file in sorted(files, key=lambda file: file.name):
            data = file.text.encode()
            entry = zipfile.ZipInfo(file.name, _EPOCH)
            entry.create_system = _UNIX
            entry.external_attr = (stat.S_IFREG | 0o644) << 16
            archive.writestr(entry, data, _method(data))
    return buffer.getvalue()


def pack_cedar(files: Sequence[SourceFile]) -> str:
    """Return the files as one Cedar text, each behind a `//# file: <name>` line; tests are comments."""
    sections: list[str] = []
    for file in sorted(files, key=lambda file: file.name):
        lines = file.text.split("\n")
        kept = map(_comment, lines) if TEST_NAME.fullmatch(file.name) else map(_escape, lines)
        sections.append("\n".join([f"//# file: {file.name}", *kept]))
    return "\n".join(sections)


def unpack(data: bytes, name: str) -> tuple[SourceFile, ...]:
    """Return the files of a zip, or of a Cedar text, by name.

    A text without file headers is one file, called `name` if a set may have such a file, else
    `policies.cedar`. Raises InvalidError for whatever a set cannot hold and whatever is not plain.
    """
    if len(data) > MAX_TEXT_BYTES:
        raise unacceptable("too_large", "The archive is larger than 8 MiB.")
    files = _unzip(data) if data.startswith(_ZIP_STARTS) else _split(_decode(data, name), name)
    if not files:
        raise unacceptable("bad_archive", "The archive holds no file.")
    if len({file.name for file in files}) < len(files):
        raise unacceptable("bad_archive", "The archive holds two files of the same name.")
    return tuple(sorted(files, key=lambda file: file.name))


def _method(data: bytes) -> int:
    """Return how to store a file: what shrinks more than `unpack` accepts is not compressed."""
    compressed = zlib.compress(data)
    return zipfile.ZIP_DEFLATED if len(data) < len(compressed) * MAX_RATIO // 2 else zipfile.ZIP_STORED


def _unzip(data: bytes) -> list[SourceFile]:
    if data.count(_DIRECTORY_ENTRY) > MAX_ENTRIES * 10:
        raise unacceptable("too_large", f"The archive has more than {MAX_ENTRIES} entries.")
    try:
        with zipfile.ZipFile(io.BytesIO(data)) as archive:
            return list(_entries(archive))
    except InvalidError:
        raise
    except Exception as error:  # damaged zips fail in many ways, all of which mean the same
        raise unacceptable("bad_archive", "The zip is damaged or not supported.") from error


def _entries(archive: zipfile.ZipFile) -> Iterator[SourceFile]:
    entries = archive.infolist()
    if len(entries) > MAX_ENTRIES:
        raise unacceptable("too_large", f"The archive has more than {MAX_ENTRIES} entries.")
    left = MAX_TEXT_BYTES
    for entry in entries:
        _require_plain(entry)
        content = _read(archive, entry, left)
        left -= len(content)
        yield SourceFile(entry.filename, _decode(content, entry.filename))


def _require_plain(entry: zipfile.ZipInfo) -> None:
    """Refuse whatever is not a plain file of an acceptable name."""
    _require_name(entry.orig_filename)
    kind = stat.S_IFMT(entry.external_attr >> 16)
    if entry.filename != entry.orig_filename or kind not in (0, stat.S_IFREG):
        raise unacceptable("bad_archive", f"{entry.filename} is not a plain file.")
    if entry.flag_bits & _ENCRYPTED:
        raise unacceptable("bad_archive", f"{entry.filename} is encrypted.")
    if entry.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
        raise unacceptable("bad_archive", f"{entry.filename} is compressed in a way that is not supported.")


def _read(archive: zipfile.ZipFile, entry: zipfile.ZipInfo, left: int) -> bytes:
    """Return the content of an entry, reading no further than a limit that it exceeds."""
    content = bytearray()
    with archive.open(entry) as stream:
        while chunk := stream.read(_CHUNK):
            content += chunk
            if len(content) > left:
                raise unacceptable("too_large", "The files are larger than 8 MiB.")
            if len(content) > MAX_RATIO * max(entry.compress_size, 1):
                raise unacceptable(
                    "too_large", f"{entry.filename} grows more than {MAX_RATIO} times when unpacked."
                )
    if len(content) != entry.file_size:
        raise unacceptable("bad_archive", f"{entry.filename} does not have the size it claims.")
    return bytes(content)


def _require_name(name: str) -> None:
    if not is_file_name(name):
        shown = name.encode("ascii", "replace").decode()[:80]
        text = f"{shown!r} is no name of a policy file (x.cedar) or of a test (x.test.json)."
        raise unacceptable("bad_archive", text)


def _decode(content: bytes, name: str) -> str:
    try:
        return content.decode()
    except UnicodeDecodeError as error:
        raise unacceptable("not_utf8", f"{name[:80]} is not UTF-8.") from error


def _split(text: str, name: str) -> list[SourceFile]:
    """Return the files of a Cedar text with headers; without any, the text is one file."""
    lines = text.split("\n")
    heads = [at for at, line in enumerate(lines) if _HEADER.fullmatch(line)]
    if not heads:
        return [SourceFile(name if POLICY_NAME.fullmatch(name) else SINGLE_NAME, text)]
    if any(line.strip() for line in lines[: heads[0]]):
        raise unacceptable("bad_archive", "There is text before the first file header.")
    if len(heads) > MAX_ENTRIES:
        raise unacceptable("too_large", f"The archive has more than {MAX_ENTRIES} files.")
    ends = [*heads[1:], len(lines)]
    return [_section(lines[start:end]) for start, end in zip(heads, ends, strict=True)]


def _section(lines: Sequence[str]) -> SourceFile:
    name = lines[0].removeprefix("//# file: ")
    _require_name(name)
    if not TEST_NAME.fullmatch(name):
        return SourceFile(name, "\n".join(map(_unescape, lines[1:])))
    if not all(line.startswith(_COMMENTED) for line in lines[1:]):
        raise unacceptable("bad_archive", f"A line of {name} does not begin with {_COMMENTED!r}.")
    return SourceFile(name, "\n".join(line.removeprefix(_COMMENTED) for line in lines[1:]))


def _comment(line: str) -> str:
    return f"{_COMMENTED}{line}"


def _escape(line: str) -> str:
    """Keep a line of a file from being read as a header."""
    return f"//#{line[2:]}" if _TAKEN.match(line) else line


def _unescape(line: str) -> str:
    return f"//{line[3:]}" if _TAKEN.match(line) else line
