"""Sealed values brought under the present key file, so that an older one can be put away."""

from __future__ import annotations

from dataclasses import dataclass

from django.apps import apps
from django.db.models import BinaryField, Model

from identity.sealing import is_under_present_key, open_field, seal_field
from kernel.errors import InvalidError

_SUFFIX = "_sealed"


@dataclass(frozen=True, slots=True)
class SealedField:
    """A column that holds sealed values: `<field>_sealed` of a model of any part."""

    model: type[Model]
    column: str

    @property
    def noun(self) -> str:
        return self.model.__name__

    @property
    def field(self) -> str:
        return self.column.removesuffix(_SUFFIX)


@dataclass(frozen=True, slots=True)
class Resealed:
    """How many values stand under the present key already, were rewritten, and open under no key."""

    present: int = 0
    rewritten: int = 0
    lost: tuple[str, ...] = ()


def sealed_fields() -> tuple[SealedField, ...]:
    """Return every sealed column of the installation; a new one is found by its name."""
    return tuple(
        SealedField(model, column.name)
        for model in apps.get_models()
        for column in model._meta.get_fields()
        if isinstance(column, BinaryField) and column.name.endswith(_SUFFIX)
    )


def reseal(*, dry_run: bool) -> Resealed:
    """Seal every value under the present key; what opens under no key stays as it is and is named.

    With `dry_run` nothing is written and the answer is the same.
    """
    present, rewritten, lost = 0, 0, []
    for place in sealed_fields():
        rows = place.model._default_manager.select_for_update().exclude(**{f"{place.column}__isnull": True})
        for row in rows.order_by("pk"):
            sealed = bytes(getattr(row, place.column))
            if is_under_present_key(place.noun, str(row.pk), place.field, sealed):
                present += 1
            elif _rewrite(place, row, sealed, dry_run=dry_run):
                rewritten += 1
            else:
                lost.append(f"{place.noun} {row.pk}")
    return Resealed(present, rewritten, tuple(lost))


def _rewrite(place: SealedField, row: Model, sealed: bytes, *, dry_run: bool) -> bool:
    row_id = str(row.pk)
    try:
        plaintext = open_field(place.noun, row_id, place.field, sealed)
    except InvalidError:
        return False
    if not dry_run:
        setattr(row, place.column, seal_field(place.noun, row_id, place.field, plaintext))
        row.save(update_fields=[place.column])
    return True
