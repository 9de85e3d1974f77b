"""Signatures of webhooks, checked by the receiver's own library."""

from __future__ import annotations

import json

import pytest
from hypothesis import given, settings, strategies as st
from standardwebhooks import Webhook, WebhookVerificationError

from governance.notifications.signing import SECRET_BYTES, secret_text, signed_headers
from kernel.clock import utc_now

SECRET = bytes(range(SECRET_BYTES))
OTHER = bytes(reversed(range(SECRET_BYTES)))


def headers(body: bytes, *secrets: bytes) -> dict[str, str]:
    now = int(utc_now().timestamp())
    return signed_headers(message_id="evt_1", timestamp=now, body=body, secrets=secrets)


@settings(max_examples=50, deadline=None)
@given(st.dictionaries(st.text(max_size=8), st.integers(), max_size=4), st.binary(min_size=24, max_size=64))
def test_the_receiver_s_library_accepts_the_signature(body: dict[str, int], secret: bytes) -> None:

    sent = json.dumps(body).encode()
    assert Webhook(secret_text(secret)).verify(sent, headers(sent, secret)) == body


def test_a_changed_body_id_or_time_fails() -> None:
    body = b'{"type":"approval.requested"}'
    good = headers(body, SECRET)
    receiver = Webhook(secret_text(SECRET))
    assert receiver.verify(body, good) == {"type": "approval.requested"}
    later = str(int(good["webhook-timestamp"]) + 1)
    for changed, data in (
        (good, body + b" "),
        ({**good, "webhook-id": "evt_2"}, body),
        ({**good, "webhook-timestamp": later}, body),
    ):
        with pytest.raises(WebhookVerificationError):
            receiver.verify(data, changed)


def test_after_a_rotation_either_secret_fits_and_no_third() -> None:
    body = b"{}"
    both = headers(body, SECRET, OTHER)
    assert len(both["webhook-signature"].split(" ")) == 2
    for secret in (SECRET, OTHER):
        Webhook(secret_text(secret)).verify(body, both)
    with pytest.raises(WebhookVerificationError):
        Webhook(secret_text(b"x" * SECRET_BYTES)).verify(body, both)


def test_nothing_is_signed_without_a_secret() -> None:
    with pytest.raises(ValueError, match="nothing to sign with"):
        signed_headers(message_id="evt_1", timestamp=0, body=b"{}", secrets=())
