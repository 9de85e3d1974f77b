"""What people may write into names and notes."""

from __future__ import annotations

from django.core.exceptions import ValidationError
from django.core.validators import validate_email

from identity.inserting import invalid

LONGEST_EMAIL = 254
LONGEST_NOTE = 500


def require_name(pointer: str, text: str, longest: int) -> str:
    """Return a name without outer spaces, or raise InvalidError.

    A name has a visible character, is not longer than `longest`, and holds nothing that hides or turns
    around what stands beside it (control and format characters, line ends).
    """
    name = text.strip()
    if not 1 <= len(name) <= longest or not name.isprintable():
        raise invalid(pointer, "name", f"1 to {longest} printable characters.")
    return name


def require_note(pointer: str, text: str, longest: int = LONGEST_NOTE) -> str:
    """Return a note, which may be empty and have lines, or raise InvalidError."""
    note = text.strip()
    if len(note) > longest or not all(line.isprintable() for line in note.split("\n")):
        raise invalid(pointer, "note", f"At most {longest} printable characters.")
    return note


def require_email(pointer: str, text: str) -> str:
    """Return an e-mail address, or raise InvalidError."""
    try:
        validate_email(text)
    except ValidationError:
        raise invalid(pointer, "email", "This is no e-mail address.") from None
    if len(text) > LONGEST_EMAIL:
        raise invalid(pointer, "email", f"At most {LONGEST_EMAIL} characters.")
    return text
