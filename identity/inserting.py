"""Storing a row whose name another may have taken, and the errors of one field."""

from __future__ import annotations

from django.db import IntegrityError, transaction
from django.db.models import Model

from kernel.errors import ConflictError, Detail, InvalidError


def insert(row: Model, taken: str) -> None:
    """Insert a row, or raise ConflictError with the sentence `taken` when a unique rule forbids it."""
    try:
        with transaction.atomic():
            row.save(force_insert=True)
    except IntegrityError:
        raise ConflictError("conflict", taken) from None


def update(row: Model, taken: str) -> None:
    """Store a row that exists, or raise ConflictError as `insert`."""
    try:
        with transaction.atomic():
            row.save(force_update=True)
    except IntegrityError:
        raise ConflictError("conflict", taken) from None


def invalid(pointer: str, code: str, detail: str) -> InvalidError:
    """Return the error of one field."""
    return InvalidError("invalid", detail, errors=(Detail(pointer, code, detail),))
