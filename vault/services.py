"""Keys of the instance: the KEK, data keys under it, and the keys that sign."""

from __future__ import annotations

import hmac
from dataclasses import dataclass
from datetime import datetime
from functools import lru_cache
from pathlib import Path

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from django.conf import settings

from kernel.canonical import digest_bytes
from kernel.errors import ConflictError, PalyraError, UnavailableError
from kernel.ids import new_id
from vault import envelope
from vault.backends.key_file import KeyFileProvider
from vault.models import Kek, SystemKey
from vault.types import KekProvider, KekState, KeyPurpose, Signer, WrappedKey


@dataclass(frozen=True, slots=True)
class _KekFacts:
    """The columns of a KEK that never change."""

    id: str
    provider: str
    locator: str
    check_value: bytes


def ensure_ready(*, now: datetime) -> None:
    """Make the vault usable, or raise UnavailableError.

    An empty database gets KEK 1 and the signing keys; two processes that start at once end with the
    same ones. A database that has a KEK never gets another here: `vault.kek_missing` when its file
    is gone, `vault.kek_wrong` when another key lies in its place, `vault.kek_insecure` when others
    can read it.
    """
    if not Kek.objects.exists():
        _create_first_kek(now)
    _usable(_active_kek())
    for purpose in KeyPurpose:
        _ensure_signing_key(purpose, now)


def is_ready() -> bool:
    """Tell whether values can be opened now: the active KEK is there and is the one it should be."""
    try:
        _usable(_active_kek())
    except PalyraError:
        return False
    return True


def wrap_data_key(plaintext: bytes, *, aad: bytes) -> WrappedKey:
    """Wrap key material under the active KEK; `aad` (from `envelope.aad`) must be given to unwrap it."""
    kek = _active_kek()
    provider = _usable(kek)
    return WrappedKey(kek.id, provider.wrap(kek.locator, plaintext, envelope.bind(aad, kek.id)))


def unwrap_data_key(wrapped: WrappedKey, *, aad: bytes) -> bytes:
    """Return the key material; IntegrityError when the bytes or `aad` differ from what was wrapped."""
    kek = _kek_facts(wrapped.kek_id)
    provider = _usable(kek)
    return provider.unwrap(kek.locator, wrapped.wrapped, envelope.bind(aad, kek.id))


def signer(purpose: KeyPurpose) -> Signer:
    """Return the key of this purpose that is in use now.

    Raises IntegrityError when the stored public half is not that of the private one.
    """
    row = SystemKey.objects.filter(purpose=purpose, retired_at=None).first()
    if row is None:
        raise UnavailableError("vault.kek_missing", "The vault was never made ready.")
    private = _private_half(row)
    return Signer(key_id=row.key_id, public_key=bytes(row.public_key), sign=private.sign)


def holds_signing_key(purpose: KeyPurpose, key_id: str) -> bool:
    """Tell whether the private half of a key lies here, in use or retired.

    Nobody can put one here without the key-encryption key, so a published key for which this is false
    is not this instance's. UnavailableError while the vault cannot be used.
    """
    row = SystemKey.objects.filter(purpose=purpose, key_id=key_id).first()
    if row is None:
        return False
    try:
        _private_half(row)
    except envelope.IntegrityError:
        return False
    return True


def rotate_signing_key(purpose: KeyPurpose, *, now: datetime) -> Signer:
    """Retire the key of this purpose and return its successor, in the caller's transaction.

    The old private half stays, wrapped, and signs nothing any more. ConflictError `conflict` when
    somebody else has just rotated it.
    """
    old = SystemKey.objects.filter(purpose=purpose, retired_at=None).first()
    if old is None:
        raise UnavailableError("vault.kek_missing", "The vault was never made ready.")
    if SystemKey.objects.filter(pk=old.pk, retired_at=None).update(retired_at=now) != 1:
        raise ConflictError("conflict", "The key was rotated just now.")
    _new_signing_key(purpose, now).save(force_insert=True)
    return signer(purpose)


def _create_first_kek(now: datetime) -> None:
    provider = _provider("key_file", settings.PALYRA_VAULT_KEK_DIR)
    locator = provider.create(1)
    row = Kek(
        id=new_id("kek", now),
        number=1,
        provider=provider.kind,
        locator=locator,
        check_value=provider.check_value(locator),
        created_at=now,
    )
    Kek.objects.bulk_create([row], ignore_conflicts=True)


def _active_kek() -> _KekFacts:
    kek_id = Kek.objects.filter(state=KekState.ACTIVE).values_list("id", flat=True).first()
    if kek_id is None:
        raise UnavailableError("vault.kek_missing", "The vault has no active key.")
    return _kek_facts(kek_id)


@lru_cache(maxsize=64)
def _kek_facts(kek_id: str) -> _KekFacts:
    row = Kek.objects.filter(id=kek_id).first()
    if row is None:
        raise UnavailableError("vault.kek_missing", "The vault does not know this key.")
    return _KekFacts(row.id, row.provider, row.locator, bytes(row.check_value))


def _usable(kek: _KekFacts) -> KekProvider:
    provider = _provider(kek.provider, settings.PALYRA_VAULT_KEK_DIR)
    if not hmac.compare_digest(provider.check_value(kek.locator), kek.check_value):
        raise UnavailableError("vault.kek_wrong", f"{kek.locator} holds another key.")
    return provider


@lru_cache(maxsize=8)
def _provider(kind: str, directory: Path) -> KekProvider:
    if kind != KeyFileProvider.kind:
        raise UnavailableError("vault.kek_missing", f"This server has no key provider {kind}.")
    return KeyFileProvider(directory)


def _ensure_signing_key(purpose: KeyPurpose, now: datetime) -> None:
    if not SystemKey.objects.filter(purpose=purpose, retired_at=None).exists():
        SystemKey.objects.bulk_create([_new_signing_key(purpose, now)], ignore_conflicts=True)


def _new_signing_key(purpose: KeyPurpose, now: datetime) -> SystemKey:
    private = Ed25519PrivateKey.generate()
    public = private.public_key().public_bytes_raw()
    key_id = digest_bytes(public)
    wrapped = wrap_data_key(private.private_bytes_raw(), aad=_signing_context(purpose, key_id))
    return SystemKey(
        purpose=purpose,
        key_id=key_id,
        public_key=public,
        wrapped=wrapped.wrapped,
        kek_id=wrapped.kek_id,
        created_at=now,
    )


def _private_half(row: SystemKey) -> Ed25519PrivateKey:
    """Return the key; IntegrityError when the row does not open or its public half is another."""
    wrapped = WrappedKey(row.kek_id, bytes(row.wrapped))
    seed = unwrap_data_key(wrapped, aad=_signing_context(KeyPurpose(row.purpose), row.key_id))
    private = Ed25519PrivateKey.from_private_bytes(seed)
    public = private.public_key().public_bytes_raw()
    if digest_bytes(public) != row.key_id or public != bytes(row.public_key):
        raise envelope.IntegrityError
    return private


def _signing_context(purpose: KeyPurpose, key_id: str) -> bytes:
    return envelope.aad("system", envelope.ALGORITHM, purpose, key_id)
