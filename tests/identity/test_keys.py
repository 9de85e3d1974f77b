from __future__ import annotations

import pytest
from hypothesis import given, strategies as st

from identity.keys import field_aad, field_key, seal, unseal
from kernel.errors import InvalidError

ROOT = bytes(range(32))
KEY = field_key(ROOT, "TotpFactor")
AAD = field_aad("TotpFactor", "7", "seed")


@given(st.binary(max_size=200), st.binary(max_size=40))
def test_what_was_sealed_opens_again(plaintext: bytes, aad: bytes) -> None:
    assert unseal(KEY, seal(KEY, plaintext, aad), aad) == plaintext


@given(st.binary(min_size=1, max_size=64), st.data())
def test_a_changed_byte_does_not_open(plaintext: bytes, data: st.DataObject) -> None:
    sealed = bytearray(seal(KEY, plaintext, AAD))
    at = data.draw(st.integers(0, len(sealed) - 1))
    sealed[at] ^= data.draw(st.integers(1, 255))
    with pytest.raises(InvalidError, match="integrity_failed"):
        unseal(KEY, bytes(sealed), AAD)


@pytest.mark.parametrize(
    "aad",
    [
        field_aad("TotpFactor", "8", "seed"),
        field_aad("TotpFactor", "7", "other"),
        field_aad("X", "7", "seed"),
    ],
)
def test_a_value_copied_to_another_row_field_or_model_does_not_open(aad: bytes) -> None:
    with pytest.raises(InvalidError, match="integrity_failed"):
        unseal(KEY, seal(KEY, b"seed", AAD), aad)


@pytest.mark.parametrize("sealed", [b"", b"\0", bytes([KEY.key_id]) + b"\0" * 27])
def test_a_truncated_value_does_not_open(sealed: bytes) -> None:
    with pytest.raises(InvalidError, match="integrity_failed"):
        unseal(KEY, sealed, AAD)


@pytest.mark.parametrize("other", [field_key(ROOT, "Pairing"), field_key(ROOT[::-1], "TotpFactor")])
def test_another_model_or_root_has_another_key(other: object) -> None:
    assert getattr(other, "secret", None) != KEY.secret


def test_two_seals_of_one_text_differ() -> None:
    assert seal(KEY, b"seed", AAD) != seal(KEY, b"seed", AAD)


def test_a_short_root_is_refused() -> None:
    with pytest.raises(ValueError, match="32 bytes"):
        field_key(b"short", "TotpFactor")


def test_the_key_stays_out_of_repr() -> None:
    assert KEY.secret.hex() not in repr(KEY)
    assert "secret" not in repr(KEY)
