"""A setup link opens an account: it stays out of the log, and everything else in it."""

from __future__ import annotations

import logging
from typing import Any

from django.conf import settings

from palyra_site.log_filters import WithoutSetupLinks


def line_of(message: str, *args: object) -> str:
    record = logging.LogRecord("any", logging.WARNING, "", 0, message, args, None)
    assert WithoutSetupLinks().filter(record)
    return record.getMessage()


def test_the_secret_of_a_setup_link_is_cut_out() -> None:
    path = "/admin/setup/kR3-secret_text/"
    assert line_of("Forbidden (%s): %s", "no token", path) == "Forbidden (no token): /admin/setup/…/"
    assert line_of(f"GET {path}?x=1") == "GET /admin/setup/…/?x=1"


def test_any_other_line_stays_as_it_is() -> None:
    assert line_of("%d calls at %s", 3, "/admin/calls/") == "3 calls at /admin/calls/"


def test_a_line_that_cannot_be_formatted_is_left_to_its_writer() -> None:
    record = logging.LogRecord("any", logging.INFO, "", 0, "%d", ("x",), None)
    assert WithoutSetupLinks().filter(record)
    assert record.msg == "%d"


def test_the_log_of_the_server_has_the_filter() -> None:
    logging_of_the_server: Any = settings.LOGGING
    assert logging_of_the_server["handlers"]["stderr"]["filters"] == ["links"]
