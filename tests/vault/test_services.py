from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from threading import Barrier

import pytest
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
from django.db import IntegrityError as DatabaseIntegrityError, connection, transaction
from pytest_django.fixtures import Settings

from kernel.canonical import digest_bytes
from kernel.errors import UnavailableError
from tests.cast import NOW
from vault.envelope import IntegrityError, aad
from vault.models import Kek, SystemKey
from vault.services import ensure_ready, signer, unwrap_data_key, wrap_data_key
from vault.types import KeyPurpose, WrappedKey

CONTEXT = aad("test", "x")


@pytest.fixture
def keys(settings: Settings, tmp_path: Path) -> Path:
    """Point the vault at a directory of this test alone."""
    settings.PALYRA_VAULT_KEK_DIR = tmp_path / "keys"
    return tmp_path / "keys"


def refusal() -> str:
    with pytest.raises(UnavailableError) as caught:
        ensure_ready(now=NOW)
    return caught.value.code


@pytest.mark.django_db
def test_an_empty_database_gets_one_kek_and_the_signing_keys(keys: Path) -> None:
    ensure_ready(now=NOW)
    ensure_ready(now=NOW)
    kek = Kek.objects.get()
    assert (kek.number, kek.state, kek.provider, kek.locator) == (1, "active", "key_file", "vault-kek-1.key")
    assert sorted(SystemKey.objects.values_list("purpose", flat=True)) == ["attestation", "checkpoint"]


@pytest.mark.django_db
def test_the_key_of_an_interrupted_start_is_used(keys: Path) -> None:
    with transaction.atomic():
        ensure_ready(now=NOW)
        transaction.set_rollback(True)
    assert not Kek.objects.exists()
    left = (keys / "vault-kek-1.key").read_bytes()
    ensure_ready(now=NOW)
    assert (keys / "vault-kek-1.key").read_bytes() == left
    assert Kek.objects.count() == 1


@pytest.mark.django_db
def test_rows_without_their_file_never_get_a_new_key(keys: Path) -> None:
    ensure_ready(now=NOW)
    kept = (keys / "vault-kek-1.key").read_bytes()
    (keys / "vault-kek-1.key").unlink()
    assert refusal() == "vault.kek_missing"
    assert not (keys / "vault-kek-1.key").exists()
    with pytest.raises(UnavailableError, match="kek_missing"):
        wrap_data_key(b"k" * 32, aad=CONTEXT)
    (keys / "vault-kek-1.key").write_bytes(kept)
    (keys / "vault-kek-1.key").chmod(0o600)
    ensure_ready(now=NOW)


@pytest.mark.django_db
def test_another_key_in_the_place_is_seen_before_anything_opens(keys: Path) -> None:
    ensure_ready(now=NOW)
    wrapped = wrap_data_key(b"k" * 32, aad=CONTEXT)
    (keys / "vault-kek-1.key").write_bytes(b"x" * 32)
    assert refusal() == "vault.kek_wrong"
    with pytest.raises(UnavailableError, match="kek_wrong"):
        unwrap_data_key(wrapped, aad=CONTEXT)


@pytest.mark.django_db
def test_a_readable_key_file_stops_every_use(keys: Path) -> None:
    ensure_ready(now=NOW)
    (keys / "vault-kek-1.key").chmod(0o644)
    assert refusal() == "vault.kek_insecure"
    with pytest.raises(UnavailableError, match="kek_insecure"):
        signer(KeyPurpose.ATTESTATION)


@pytest.mark.django_db
def test_a_vault_that_was_never_made_ready_serves_nothing(keys: Path) -> None:
    with pytest.raises(UnavailableError, match="kek_missing"):
        wrap_data_key(b"k" * 32, aad=CONTEXT)
    with pytest.raises(UnavailableError, match="kek_missing"):
        signer(KeyPurpose.ATTESTATION)
    with pytest.raises(UnavailableError, match="kek_missing"):
        unwrap_data_key(WrappedKey("kek_unknown", b""), aad=CONTEXT)
    assert not keys.exists()


@pytest.mark.django_db
def test_a_data_key_is_bound_to_its_context_and_kek(keys: Path) -> None:
    ensure_ready(now=NOW)
    wrapped = wrap_data_key(b"k" * 32, aad=CONTEXT)
    assert unwrap_data_key(wrapped, aad=CONTEXT) == b"k" * 32
    assert repr(wrapped) == f"WrappedKey(kek_id={wrapped.kek_id!r})"
    with pytest.raises(IntegrityError):
        unwrap_data_key(wrapped, aad=aad("test", "y"))


@pytest.mark.django_db
def test_a_signer_signs_under_its_published_key_and_hides_the_private_one(keys: Path) -> None:
    ensure_ready(now=NOW)
    attestation, checkpoint = signer(KeyPurpose.ATTESTATION), signer(KeyPurpose.CHECKPOINT)
    assert signer(KeyPurpose.ATTESTATION).public_key == attestation.public_key != checkpoint.public_key
    assert attestation.key_id == digest_bytes(attestation.public_key)
    public = Ed25519PublicKey.from_public_bytes(attestation.public_key)
    public.verify(attestation.sign(b"said"), b"said")
    with pytest.raises(InvalidSignature):
        public.verify(checkpoint.sign(b"said"), b"said")
    assert "sign=" not in repr(attestation)


@pytest.mark.django_db
def test_a_signing_key_moved_to_another_purpose_does_not_open(keys: Path) -> None:
    ensure_ready(now=NOW)
    SystemKey.objects.filter(purpose="checkpoint").delete()
    SystemKey.objects.filter(purpose="attestation").update(purpose="checkpoint")
    with pytest.raises(IntegrityError):
        signer(KeyPurpose.CHECKPOINT)


@pytest.mark.django_db
def test_there_is_one_active_kek_and_no_unknown_state(keys: Path) -> None:
    ensure_ready(now=NOW)
    one = Kek.objects.get()
    for state in ("active", "lost"):
        row = Kek(
            id="kek_2", number=2, provider="key_file", locator="x", check_value=one.check_value,
            state=state, created_at=NOW,
        )  # fmt: skip
        with pytest.raises(DatabaseIntegrityError), transaction.atomic():
            row.save(force_insert=True)


@pytest.mark.postgres
@pytest.mark.django_db(transaction=True)
def test_processes_that_start_at_once_end_with_the_same_keys(keys: Path) -> None:
    barrier = Barrier(6)

    def start(_: int) -> tuple[bytes, bytes]:
        try:
            barrier.wait(timeout=30)
            with transaction.atomic():
                ensure_ready(now=NOW)
            return signer(KeyPurpose.ATTESTATION).public_key, signer(KeyPurpose.CHECKPOINT).public_key
        finally:
            connection.close()

    with ThreadPoolExecutor(6) as pool:
        assert len(set(pool.map(start, range(6)))) == 1
    assert (Kek.objects.count(), SystemKey.objects.count()) == (1, 2)
