"""Editing what one has seen: `ETag: "<id>:<version>"`, `If-Match`, `If-None-Match`."""

from __future__ import annotations

import re

from rest_framework.request import Request

from kernel.errors import MalformedError, PreconditionRequiredError


def etag(object_id: str, version: int) -> str:
    """Return the entity tag of one version of an object."""
    return f'"{object_id}:{version}"'


def seen_version(request: Request, object_id: str) -> int:
    """Return the version that the caller saw, as `If-Match` names it.

    PreconditionRequiredError without the header, MalformedError `invalid_if_match` for `*`, for several
    tags and for the tag of another object.
    """
    given = request.headers.get("If-Match")
    if given is None:
        raise PreconditionRequiredError("precondition_required", "Send the ETag you saw as If-Match.")
    match = re.fullmatch(rf'"{re.escape(object_id)}:([0-9]{{1,9}})"', given)
    if match is None:
        raise MalformedError("invalid_if_match", f'If-Match takes one ETag such as "{object_id}:3".')
    return int(match[1])


def is_unchanged(request: Request, tag: str) -> bool:
    """Tell whether the caller already holds what this tag stands for, so that 304 answers."""
    return request.headers.get("If-None-Match") == tag
