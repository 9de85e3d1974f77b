"""The one body parser: strict JSON, one content type."""

from __future__ import annotations

from collections.abc import Mapping
from typing import IO, Any

from rest_framework.parsers import BaseParser

from governance.api.limits import MAX_BODY_BYTES
from kernel.canonical import parse
from kernel.errors import MalformedError, PayloadTooLargeError


class StrictJSONParser(BaseParser):
    """Parse `application/json` with the rules of `kernel.canonical.parse`; the body is an object."""

    media_type = "application/json"

    def parse(
        self, stream: IO[Any], media_type: str | None = None, parser_context: Mapping[str, Any] | None = None
    ) -> Mapping[str, Any]:
        data = stream.read(MAX_BODY_BYTES + 1)
        if len(data) > MAX_BODY_BYTES:
            raise PayloadTooLargeError
        value = parse(data)
        if not isinstance(value, dict):
            raise MalformedError("malformed_json", "The body must be a JSON object.")
        return value
