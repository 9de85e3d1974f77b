from __future__ import annotations

import re

import pytest
from hypothesis import given, strategies as st

from identity import tokens
from identity.tokens import (
    ALPHABET,
    TOKEN_LENGTH,
    TokenKind,
    TokenParts,
    find_tokens,
    format_token,
    new_token,
    parse_token,
    token_digest,
)

PUBLISHED = re.compile(r"plr_(agt|usr|svc|adm)_[0-9A-Za-z]{12}_[0-9A-Za-z]{49}")
parts = st.builds(
    TokenParts,
    kind=st.sampled_from(TokenKind),
    lookup=st.text(ALPHABET, min_size=12, max_size=12),
    secret=st.binary(min_size=32, max_size=32),
)


@given(parts)
def test_parsing_a_formatted_token_gives_its_parts_back(token: TokenParts) -> None:
    text = format_token(token)
    assert len(text) == TOKEN_LENGTH
    assert PUBLISHED.fullmatch(text)
    assert parse_token(text) == token


@given(parts, st.integers(0, TOKEN_LENGTH - 1), st.characters(max_codepoint=0x2FF))
def test_a_changed_character_fails_the_checksum_or_the_digest(
    token: TokenParts, at: int, character: str
) -> None:
    text = format_token(token)
    changed = text[:at] + character + text[at + 1 :]
    if changed != text:
        assert parse_token(changed) is None or token_digest(changed) != token_digest(text)


@given(parts, st.integers(8, TOKEN_LENGTH - 1))
def test_a_lower_cased_or_shortened_text_does_not_parse(token: TokenParts, length: int) -> None:
    text = format_token(token)
    assert parse_token(text[:length]) is None
    assert text.lower() == text or parse_token(text.lower()) is None


@pytest.mark.parametrize(
    "text", ["", "plr_", "Bearer x", "plr_agt_" + "0" * 62, "\0" * 70, "plr_agt_" + "é" * 62]
)
def test_other_texts_do_not_parse(text: str) -> None:
    assert parse_token(text) is None


def test_a_secret_beyond_32_bytes_does_not_parse() -> None:
    body = "plr_agt_" + "0" * 12 + "_" + "z" * 43
    assert parse_token(body + tokens._checksum(body)) is None


def test_a_trailing_newline_is_not_part_of_a_token() -> None:
    assert parse_token(format_token(new_token(TokenKind.USER)) + "\n") is None


def test_fresh_tokens_differ_and_do_not_show_their_secret() -> None:
    first, second = new_token(TokenKind.AGENT), new_token(TokenKind.AGENT)
    assert first.lookup != second.lookup
    assert first.secret != second.secret
    assert "secret" not in repr(first)


def test_no_single_character_of_a_token_can_be_exchanged() -> None:
    text = format_token(new_token(TokenKind.AGENT))
    digest = token_digest(text)
    for at, character in ((at, character) for at in range(TOKEN_LENGTH) for character in ALPHABET):
        changed = text[:at] + character + text[at + 1 :]
        if changed != text:
            assert parse_token(changed) is None or token_digest(changed) != digest


@given(st.lists(parts, max_size=4), st.text(max_size=20))
def test_tokens_are_found_within_any_text_once_and_in_order(found: list[TokenParts], between: str) -> None:
    texts = [format_token(one) for one in found]
    whole = f" {between} ".join([*texts, *texts])
    assert find_tokens(whole) == tuple(dict.fromkeys(texts))


def test_what_only_looks_like_a_token_is_not_found() -> None:
    text = format_token(new_token(TokenKind.AGENT))
    assert find_tokens("") == ()
    assert find_tokens("plr_" * 1000) == ()
    assert find_tokens(text[:-1] + ("0" if text[-1] != "0" else "1")) == ()
    assert find_tokens(text.lower()) == ()


def test_the_published_pattern_is_the_one_in_the_specification() -> None:
    assert PUBLISHED.pattern == tokens.PATTERN
