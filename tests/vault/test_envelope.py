from __future__ import annotations

import pytest
from hypothesis import given, strategies as st

from vault import envelope
from vault.envelope import IntegrityError, Sealed, aad, bind, check_value, open_sealed, seal

KEY = bytes(range(32))
CONTEXT = aad("test", "a", "b")
names = st.text(max_size=20)


@given(plain=st.binary(max_size=2048), fields=st.lists(names, max_size=4))
def test_what_was_sealed_opens_in_its_place(plain: bytes, fields: list[str]) -> None:
    context = aad("test", *fields)
    sealed = seal(plain, key=KEY, context=context)
    assert open_sealed(sealed, key=KEY, context=context) == plain
    assert open_sealed(Sealed.split(sealed.joined()), key=KEY, context=context) == plain


@given(plain=st.binary(max_size=64), data=st.data())
def test_any_flipped_bit_fails(plain: bytes, data: st.DataObject) -> None:
    joined = bytearray(seal(plain, key=KEY, context=CONTEXT).joined())
    bit = data.draw(st.integers(0, len(joined) * 8 - 1))
    joined[bit // 8] ^= 1 << bit % 8
    with pytest.raises(IntegrityError):
        open_sealed(Sealed.split(bytes(joined)), key=KEY, context=CONTEXT)


@given(one=st.lists(names, max_size=4), other=st.lists(names, max_size=4))
def test_different_fields_make_different_contexts(one: list[str], other: list[str]) -> None:
    assert (aad("p", *one) == aad("p", *other)) is (one == other)


def test_binding_a_field_is_naming_it_at_the_end() -> None:
    assert bind(aad("p", "a"), "b") == aad("p", "a", "b")


def test_the_context_begins_with_the_domain_and_prefixed_fields() -> None:
    assert aad("dek", "é") == b"palyra.vault.v1\0\0\0\0\x03dek\0\0\0\x02\xc3\xa9"


@pytest.mark.parametrize("size", [0, 1, 12, 27])
def test_what_is_too_short_fails_like_everything_else(size: int) -> None:
    with pytest.raises(IntegrityError):
        Sealed.split(bytes(size))


@pytest.mark.parametrize(("key", "nonce"), [(bytes(32), bytes(12)), (bytes(5), bytes(12)), (KEY, b"")])
def test_wrong_keys_and_nonces_tell_nothing_of_the_cause(key: bytes, nonce: bytes) -> None:
    sealed = Sealed(nonce=nonce, ciphertext=seal(b"secret", key=KEY, context=CONTEXT).ciphertext)
    with pytest.raises(IntegrityError) as caught:
        open_sealed(sealed, key=key, context=CONTEXT)
    assert (caught.value.status, caught.value.code) == (503, "vault.integrity_failed")
    assert str(caught.value) == "vault.integrity_failed: Sealed data failed its integrity check."
    assert caught.value.__suppress_context__


def test_nonces_are_fresh() -> None:
    assert len({seal(b"x", key=KEY, context=CONTEXT).nonce for _ in range(100)}) == 100


def test_a_check_value_recognises_a_key_and_holds_nothing_of_it() -> None:
    assert check_value(KEY) == check_value(KEY) != check_value(bytes(32))
    assert len(check_value(KEY)) == envelope.CHECK_BYTES
    assert check_value(KEY) not in KEY


def test_sealed_values_print_nothing() -> None:
    assert repr(seal(b"x", key=KEY, context=CONTEXT)) == "Sealed()"
