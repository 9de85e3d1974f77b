"""The one body parser: strict JSON, one content type."""

from __future__ import annotations

from collections.abc import Mapping
from typing import IO, Any

from rest_framework.exceptions import UnsupportedMediaType
from rest_framework.parsers import BaseParser

from governance.api.limits import MAX_BODY_BYTES
from kernel.canonical import LONG_INTEGERS, SAFE_INTEGERS, parse
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


def _require_utf8(media_type: str) -> None:
    """JSON between systems is UTF-8 (RFC 8259 §8.1); the only parameter that may stand there says so."""
    for parameter in media_type.split(";")[1:]:
        name, _, value = parameter.strip().partition("=")
        if name and (name.lower(), value.strip('"').lower()) != ("charset", "utf-8"):
            raise UnsupportedMediaType("")
