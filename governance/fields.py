"""A column for JSON that came from outside."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from django.db import models

from kernel.canonical import canonical

if TYPE_CHECKING:

    class _Text(models.TextField[Any, Any]):
        _pyi_private_set_type: Any
        _pyi_private_get_type: Any
        _pyi_lookup_exact_type: Any
else:
    _Text = models.TextField


class CanonicalJSONField(_Text):
    """JSON kept as RFC 8785 text: exact numbers, and NUL inside strings, which jsonb refuses."""

    def from_db_value(self, value: str | None, expression: object, connection: object) -> object:
        return None if value is None else json.loads(value)

    def to_python(self, value: object) -> object:
        return value

    def get_prep_value(self, value: object) -> str | None:
        """None is NULL where the column may be NULL, and JSON's `null` where it may not."""
        return None if value is None and self.null else canonical(value).decode()

    def value_to_string(self, obj: models.Model) -> str:
        return canonical(self.value_from_object(obj)).decode()
