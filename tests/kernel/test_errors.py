from __future__ import annotations

import re

import pytest

from kernel import errors
from kernel.errors import CODES, Detail, PalyraError

STATUSES = {
    errors.MalformedError: 400,
    errors.AuthenticationError: 401,
    errors.RefusedError: 403,
    errors.NotFoundError: 404,
    errors.ConflictError: 409,
    errors.PreconditionFailedError: 412,
    errors.PayloadTooLargeError: 413,
    errors.InvalidError: 422,
    errors.PreconditionRequiredError: 428,
    errors.RateLimitedError: 429,
    errors.UnavailableError: 503,
}


@pytest.mark.parametrize(("kind", "status"), STATUSES.items())
def test_each_error_has_its_status_and_a_registered_default(kind: type[PalyraError], status: int) -> None:
    error = kind()
    assert error.status == status
    assert error.code in CODES


def test_an_error_nobody_classified_is_internal() -> None:
    assert (PalyraError().status, PalyraError().code) == (500, "internal")


def test_an_error_carries_what_the_caller_may_see() -> None:
    finding = Detail("/input/path", "pattern", "Must not start with a slash.")
    error = errors.InvalidError("schema_invalid", "No.", errors=(finding,), retry_after=3, extra={"a": 1})
    assert error.code == "schema_invalid"
    assert error.detail == "No."
    assert error.errors == (finding,)
    assert error.retry_after == 3
    assert error.extra == {"a": 1}
    assert str(error) == "schema_invalid: No."


def test_extras_are_not_shared_between_errors() -> None:
    errors.ConflictError().extra["seen"] = True
    assert errors.ConflictError().extra == {}


def test_codes_are_plain_words_with_a_title() -> None:
    assert list(CODES) == sorted(CODES)
    for code, title in CODES.items():
        assert re.fullmatch(r"[a-z]+([_.][a-z]+)*", code), code
        assert title, code
        assert not title.endswith("."), code
