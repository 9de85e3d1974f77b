"""A signing key whose stored public half was exchanged signs nothing."""

from __future__ import annotations

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from kernel.canonical import digest_bytes
from tests.cast import NOW
from vault import services as vault
from vault.envelope import IntegrityError
from vault.models import SystemKey
from vault.types import KeyPurpose

pytestmark = pytest.mark.django_db
STRANGER = Ed25519PrivateKey.generate().public_key().public_bytes_raw()


@pytest.mark.parametrize(
    "changes",
    [
        {"public_key": STRANGER},
        {"key_id": digest_bytes(STRANGER)},
        {"public_key": STRANGER, "key_id": digest_bytes(STRANGER)},
    ],
    ids=["public half", "id", "both"],
)
def test_an_exchanged_public_half_is_refused(changes: dict[str, object]) -> None:
    vault.ensure_ready(now=NOW)
    SystemKey.objects.filter(purpose=KeyPurpose.ATTESTATION).update(**changes)
    with pytest.raises(IntegrityError) as refused:
        vault.signer(KeyPurpose.ATTESTATION)
    assert refused.value.code == "vault.integrity_failed"
    assert vault.signer(KeyPurpose.CHECKPOINT).key_id


def test_each_purpose_has_a_key_of_its_own() -> None:
    vault.ensure_ready(now=NOW)
    signers = [vault.signer(purpose) for purpose in KeyPurpose]
    assert len({signer.key_id for signer in signers}) == len(KeyPurpose)
    assert len({signer.public_key for signer in signers}) == len(KeyPurpose)
