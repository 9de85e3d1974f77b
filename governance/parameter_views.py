"""Parameters as people see them who did not send them: masked, then cut. What was cut is never read again."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Mapping
from dataclasses import dataclass, field

from governance.journal.redact import is_secret_name
from governance.safety.hosts import with_plain_hosts
from governance.safety.secrets import mask
from governance.safety.visible import visible
from kernel.canonical import canonical

MAX_TEXT = 2_048
MAX_VIEW = 16_384
NARROWER = (512, 128, 32)
"""To how many bytes every string is cut when the whole view would be too large."""
MASKED = "[masked]"
_HOST_WORDS = frozenset({"host", "hosts", "hostname", "domain", "domains", "server", "email", "recipient"})
_HOST_FORMATS = frozenset({"hostname", "idn-hostname", "email", "idn-email"})
_SECRET_SHAPE = "Words with the shape of a secret are masked; each mark says how long it is."
_INVISIBLE = "Invisible characters are shown as marks."
_LOOKALIKE_HOST = "A host name mixes letters that look alike; the foreign ones are shown as marks."
_LOOKALIKE_NAME = "Two names look alike; the later one carries a mark."
_TOO_LARGE = "The parameters are too large to be shown."

Schema = Mapping[str, object]


def parameters_view(parameters: object, schema: Schema | None = None) -> tuple[object, list[str]]:
    """Return the parameters as an approver may see them, and a warning for each thing made visible.

    `schema` is the one they passed: what it types as secret is masked whole. The view has at most 16 KiB.
    """
    sight = _Sight()
    return sight.fitted(sight.value(parameters, schema or {}), MAX_VIEW), sorted(sight.warnings)


def small_view(value: object, limit: int, *, is_host: bool = False) -> object:
    """Return a value derived from parameters as an approver may see it, at most `limit` bytes of it."""
    sight = _Sight()
    return sight.fitted(sight.value(value, {}, is_host=is_host), limit)


def masked(parameters: object, schema: Schema | None = None) -> object:
    """Return parameters for readers other than their sender: secrets masked, nothing cut."""
    return _Sight().value(parameters, schema or {})


def without_typed_secrets(parameters: object, schema: Schema) -> object:
    """Return parameters without what the schema types as secret; all else stays as it is."""
    if is_secret_schema(schema):
        return MASKED
    if isinstance(parameters, Mapping):
        return {name: without_typed_secrets(item, inner(schema, name)) for name, item in parameters.items()}
    if isinstance(parameters, list):
        return [without_typed_secrets(item, items(schema)) for item in parameters]
    return parameters


def shown_text(text: str) -> str:
    """Return one text without secrets and with nothing in it that a screen would hide."""
    return _Sight().text(text)


def one_line(text: str) -> str:
    """Return one text as `shown_text` does, with marks for its line ends: it cannot look like two."""
    return shown_text(text).replace("\n", "⏎").replace("\t", " ")


def is_secret_schema(schema: Schema) -> bool:
    """Tell whether a schema types its value as secret: `writeOnly`, or the format `password`."""
    return schema.get("writeOnly") is True or schema.get("format") == "password"


@dataclass(slots=True)
class _Sight:
    """One pass over one value; `warnings` says what it made visible."""

    warnings: set[str] = field(default_factory=set)

    def value(self, value: object, schema: Schema, *, is_host: bool = False) -> object:
        if is_secret_schema(schema):
            return MASKED
        if isinstance(value, Mapping):
            return self._members(value, schema)
        if isinstance(value, (list, tuple)):
            return [self.value(item, items(schema), is_host=is_host) for item in value]
        return self.text(value, is_host=is_host) if isinstance(value, str) else value

    def text(self, text: str, *, is_host: bool = False) -> str:
        found = mask(text)
        if found.count:
            self.warnings.add(_SECRET_SHAPE)
        plain = with_plain_hosts(found.text, is_host=is_host)
        if plain != found.text:
            self.warnings.add(_LOOKALIKE_HOST)
        shown = visible(plain)
        if shown != plain:
            self.warnings.add(_INVISIBLE)
        return shown

    def fitted(self, shown: object, limit: int) -> object:
        """Return a value that was masked, cut until it fits; one that never does is named by its digest."""
        for longest in (MAX_TEXT, *NARROWER):
            cut = _cut(shown, longest)
            if len(canonical(cut)) <= limit:
                return cut
        self.warnings.add(_TOO_LARGE)
        return _mark(canonical(shown))

    def _members(self, value: Mapping[str, object], schema: Schema) -> dict[str, object]:
        """Two names that look alike keep a member each: neither may hide the other."""
        members: dict[str, object] = {}
        for name, item in value.items():
            shown = self.text(name)
            while shown in members:
                self.warnings.add(_LOOKALIKE_NAME)
                shown += "⟦again⟧"
            described = inner(schema, name)
            is_host = _names_host(name) or described.get("format") in _HOST_FORMATS
            members[shown] = MASKED if is_secret_name(name) else self.value(item, described, is_host=is_host)
        return members


def _names_host(name: str) -> bool:
    return not _HOST_WORDS.isdisjoint(re.findall(r"[a-z]+", name.lower()))


def inner(schema: Schema, name: str) -> Schema:
    """Return what a schema says of one member, empty when it says nothing."""
    properties = schema.get("properties")
    described = properties.get(name) if isinstance(properties, Mapping) else None
    if described is None:
        described = schema.get("additionalProperties")
    return described if isinstance(described, Mapping) else {}


def items(schema: Schema) -> Schema:
    """Return what a schema says of the elements of a list, empty when it says nothing."""
    items = schema.get("items")
    return items if isinstance(items, Mapping) else {}


def _cut(value: object, limit: int) -> object:
    if isinstance(value, dict):
        return {name: _cut(item, limit) for name, item in value.items()}
    if isinstance(value, list):
        return [_cut(item, limit) for item in value]
    if isinstance(value, str) and len(value.encode()) > limit:
        return {"_head": value.encode()[:limit].decode(errors="ignore"), **_mark(value.encode())}
    return value


def _mark(data: bytes) -> dict[str, object]:
    return {"_truncated": True, "bytes": len(data), "sha256": hashlib.sha256(data).hexdigest()}
