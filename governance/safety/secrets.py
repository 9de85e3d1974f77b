"""Shapes of secrets inside text, and the spans to cut. No other file holds a secret pattern.

A cut leaves `[redacted:<rule>]`, which no rule matches again, so scanning twice changes nothing.
Every pattern is bounded or free of nested repeats: time grows with the text and not faster.
"""

from __future__ import annotations

import base64
import re
from dataclasses import dataclass
from functools import partial

_MARK = r"\[redacted:"
_QUOTE = r"(?:\\{0,8}[\"'])"
_SECRET_NAME = (
    r"(?:password|passwd|passphrase|secret|client[_-]?secret|api[_-]?key|private[_-]?key"
    r"|access[_-]?token|refresh[_-]?token|auth[_-]?token|token|credential)"
)

_SCHEME = r"(?>(?:bearer|basic|digest|token)[ \t]{1,8})"

_VENDORS = (
    r"gh[opsur]_[0-9A-Za-z]{36,255}",
    r"github_pat_[0-9A-Za-z_]{22,255}",
    r"glpat-[0-9A-Za-z_-]{20,255}",
    r"sk-(?=[A-Za-z_-]{0,64}[0-9])[0-9A-Za-z_-]{20,255}",
    r"[rs]k_(?:live|test)_[0-9A-Za-z]{16,255}",
    r"xox[abeprs]-[0-9A-Za-z-]{10,255}",
    r"A(?:KIA|SIA)[0-9A-Z]{16}(?![0-9A-Za-z])",
    r"AIza[0-9A-Za-z_-]{35}",
    r"npm_[0-9A-Za-z]{36}",
    r"pypi-[0-9A-Za-z_-]{40,255}",
    r"eyJ[0-9A-Za-z_-]{8,2048}\.eyJ[0-9A-Za-z_-]{8,4096}\.[0-9A-Za-z_-]{8,2048}",
)
"""Prefixes by which issuers mark their tokens, and JSON Web Tokens (RFC 7519)."""

_RULES: tuple[tuple[str, re.Pattern[str]], ...] = (
    (
        "private_key",
        re.compile(r"(?s)-----BEGIN [A-Z0-9 ]{0,40}PRIVATE KEY-----.*?(?:-----END [A-Z0-9 ]{0,40}-----|\Z)"),
    ),
    ("palyra_token", re.compile(r"plr_(?:agt|usr|svc|adm)_[0-9A-Za-z_]{8,}")),
    ("vendor_token", re.compile(rf"(?<![0-9A-Za-z_])(?:{'|'.join(_VENDORS)})")),
    (
        "authorization",
        re.compile(
            rf"(?i)(?P<keep>\b(?:proxy-)?authorization[\"']?[ \t]{{0,8}}[:=][ \t]{{0,8}}[\"']?{_SCHEME}?+)"
            rf"(?!{_MARK})[^\s\"',;]{{4,}}"
        ),
    ),
    (
        "bearer",
        re.compile(
            r"(?i)(?P<keep>\bbearer[ \t]{1,8})(?=[a-z._~+/=-]*[0-9]|[a-z._~+/=-]{24})(?=[0-9a-z._~+/=-]{8})"
            r"[0-9a-z._~+/=-]+"
        ),
    ),
    ("cookie", re.compile(rf"(?i)(?P<keep>\b(?:set-)?cookie:[ \t]{{0,8}})(?!{_MARK}|[ \t])[^\r\n]+")),
    (
        "url_password",
        re.compile(
            rf"(?i)(?P<keep>\b[a-z][a-z0-9+.-]{{1,20}}://[^\s/@:]{{0,256}}:)(?!{_MARK})[^\s/@]{{1,1024}}(?=@)"
        ),
    ),
    (
        "assignment",
        re.compile(
            rf"(?i)(?P<keep>(?<![a-z0-9]){_SECRET_NAME}{_QUOTE}?[ \t]{{0,8}}"
            rf"(?:=|:[ \t]{{0,8}}(?={_QUOTE}))[ \t]{{0,8}}{_QUOTE}?)"
            rf"(?!{_MARK})(?:[^\s\"'&,;}}\])\\]|\\(?![\"'\\])){{4,}}"
        ),
    ),
)


@dataclass(frozen=True, slots=True)
class Scanned:
    """The text without the secrets found, and how many spans were cut."""

    text: str
    count: int


def scan(text: str) -> Scanned:
    """Cut every span with the shape of a secret and keep all the rest."""
    total = 0
    for rule, pattern in _RULES:
        text, count = pattern.subn(_replacement(pattern, rule), text)
        total += count
    return Scanned(text, total)


_PLAIN = re.compile(r"[0-9A-Za-z_.~+=%-]{1,512}")
_PEM = re.compile(
    r"-----BEGIN (?P<label>[A-Z0-9 ]{0,40})-----\n(?P<body>[A-Za-z0-9+/=\n]+)-----END (?P=label)-----"
)


def mask(text: str) -> Scanned:
    """Mask secrets for a person who has to judge the rest of the text.

    Whoever writes the text chooses what has the shape of a secret, so only a span that can hide no
    action is masked: one word without space, quote, slash or shell sign, or the body of a private key
    that really decodes. Everything else stays readable. Each mark says how much stands behind it.
    """
    total = 0

    def replaced(rule: str, match: re.Match[str]) -> str:
        nonlocal total
        kept = match.groupdict().get("keep") or ""
        span = match[0][len(kept) :]
        if rule == "private_key":
            shown = _masked_key(span)
        else:
            shown = _mark(rule, span) if _PLAIN.fullmatch(span) else None
        total += shown is not None
        return match[0] if shown is None else kept + shown

    for rule, pattern in _RULES:
        text = pattern.sub(partial(replaced, rule), text)
    return Scanned(text, total)


def _masked_key(span: str) -> str | None:
    """The key with its body masked, or None when it is no key: text between two markers is text."""
    match = _PEM.fullmatch(span)
    if match is None:
        return None
    try:
        body = base64.b64decode(match["body"].replace("\n", ""), validate=True)
    except ValueError:
        return None
    if not body.startswith((b"\x30", b"openssh-key-v1\x00")):
        return None
    label = match["label"]
    return f"-----BEGIN {label}-----{_mark('private_key', match['body'])}-----END {label}-----"


def _mark(rule: str, span: str) -> str:
    return f"[redacted:{rule}, {len(span)} characters]"


def _replacement(pattern: re.Pattern[str], rule: str) -> str:
    kept = r"\g<keep>" if "keep" in pattern.groupindex else ""
    return f"{kept}[redacted:{rule}]"
