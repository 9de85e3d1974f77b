"""The body parsers: strict JSON, and policy sets as they were carried out."""

from __future__ import annotations

from collections.abc import Mapping
from typing import IO, Any

from rest_framework.exceptions import UnsupportedMediaType
from rest_framework.parsers import BaseParser

from governance.api.limits import MAX_ARCHIVE_BYTES, MAX_BODY_BYTES
from kernel.canonical import LONG_INTEGERS, SAFE_INTEGERS, digest_bytes, parse
from kernel.errors import MalformedError, PayloadTooLargeError


class StrictJSONParser(BaseParser):
    """Parse `application/json` with the rules of `kernel.canonical.parse`; the body is an object."""

    media_type = "application/json"
    integers = SAFE_INTEGERS

    def parse(
        self, stream: IO[Any], media_type: str | None = None, parser_context: Mapping[str, Any] | None = None
    ) -> Mapping[str, Any]:
        _require_utf8(media_type or "")
        data = stream.read(MAX_BODY_BYTES + 1)
        if len(data) > MAX_BODY_BYTES:
            raise PayloadTooLargeError
        value = parse(data, integers=self.integers)
        if not isinstance(value, dict):
            raise MalformedError("malformed_json", "The body must be a JSON object.")
        return value


class LongJSONParser(StrictJSONParser):
    """As strict, for the one body whose numbers are Cedar's: signed 64-bit integers."""

    integers = LONG_INTEGERS


class ArchiveParser(BaseParser):
    """Take a policy set as a zip: its bytes as `content`, with their digest and a name for one file."""

    media_type = "application/zip"
    file_name = "policies.zip"

    def parse(
        self, stream: IO[Any], media_type: str | None = None, parser_context: Mapping[str, Any] | None = None
    ) -> Mapping[str, Any]:
        _require_utf8(media_type or "")
        data = stream.read(MAX_ARCHIVE_BYTES + 1)
        if len(data) > MAX_ARCHIVE_BYTES:
            raise PayloadTooLargeError
        return {"content": data, "sha256": digest_bytes(data), "file_name": self.file_name}


class CedarParser(ArchiveParser):
    """Take a policy set as one Cedar text in UTF-8."""

    media_type = "text/plain"
    file_name = "policies.cedar"


def _require_utf8(media_type: str) -> None:
    """JSON between systems is UTF-8 (RFC 8259 §8.1); the only parameter that may stand there says so."""
    for parameter in media_type.split(";")[1:]:
        name, _, value = parameter.strip().partition("=")
        if name and (name.lower(), value.strip('"').lower()) != ("charset", "utf-8"):
            raise UnsupportedMediaType("")
