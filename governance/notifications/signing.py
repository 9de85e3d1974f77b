"""Signatures of webhooks as the Standard Webhooks specification defines them.

A receiver checks them with any library of that specification and the secret it was told once.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
from collections.abc import Sequence

SECRET_BYTES = 32
SECRET_PREFIX = "whsec_"


def secret_text(secret: bytes) -> str:
    """Return a secret as people copy it: `whsec_` and base64."""
    return SECRET_PREFIX + base64.b64encode(secret).decode()


def signed_headers(
    *, message_id: str, timestamp: int, body: bytes, secrets: Sequence[bytes]
) -> dict[str, str]:
    """Return the three headers of one attempt. `timestamp` is in Unix seconds, of the attempt itself.

    Several secrets give several values, of which one has to fit. ValueError without any: nothing
    leaves unsigned.
    """
    if not secrets:
        raise ValueError("nothing to sign with")
    signed = f"{message_id}.{timestamp}.".encode() + body
    values = (base64.b64encode(hmac.digest(secret, signed, hashlib.sha256)).decode() for secret in secrets)
    return {
        "webhook-id": message_id,
        "webhook-timestamp": str(timestamp),
        "webhook-signature": " ".join(f"v1,{value}" for value in values),
    }
