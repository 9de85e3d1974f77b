"""What a token may be: how long it lives, what it may hold, how often and from where it is used.

Pure. `minting.py` asks these rules before it writes a row.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Callable, Iterable, Sequence
from datetime import timedelta

from identity.roles import AGENT_PERMISSIBLE, Permission
from identity.tokens import TokenKind
from kernel.errors import Detail, InvalidError, PalyraError, RefusedError

DEFAULT_DAYS = {TokenKind.AGENT: 90, TokenKind.USER: 30, TokenKind.SERVICE: 90, TokenKind.ADMIN: 7}
LONGEST_DAYS = {TokenKind.AGENT: 366, TokenKind.USER: 366, TokenKind.SERVICE: 366, TokenKind.ADMIN: 30}
LOWEST_RATE, HIGHEST_RATE, DEFAULT_RATE = 10, 10_000, 120
MOST_NETWORKS = 32
MOST_SCOPES = 100
MOST_REPORTED = 100
LONGEST_LABEL = 80
LONGEST_OVERLAP_SECONDS = 86_400
DEFAULT_OVERLAP_SECONDS = 3_600
LOOPBACK = ("127.0.0.0/8", "::1/128")

_P = Permission
AGENT_GROUP = (
    _P.RUNS_CREATE, _P.RUNS_READ, _P.RUNS_CANCEL, _P.TOOLS_PROPOSE, _P.TOOLS_READ, _P.CALLS_READ, _P.MCP_USE,
)  # fmt: skip
COMPAT_GROUP = (
    _P.COMPAT_MODELS_READ, _P.COMPAT_CHAT_CREATE, _P.COMPAT_RESPONSES_CREATE, _P.COMPAT_EMBEDDINGS_CREATE,
    _P.COMPAT_TOOLS_INVOKE,
)  # fmt: skip
READONLY = "readonly"
GROUPS: dict[str, tuple[Permission, ...]] = {"agent": AGENT_GROUP, "compat": COMPAT_GROUP}


def may_hold(kind: TokenKind) -> frozenset[Permission]:
    """Return what a token of this kind may ever hold, whoever mints it."""
    return frozenset(Permission) if kind in (TokenKind.USER, TokenKind.ADMIN) else AGENT_PERMISSIBLE


def granted_scopes(kind: TokenKind, wanted: Sequence[str], held: frozenset[Permission]) -> list[str]:
    """Return the scopes of a new token: sorted, distinct, known, fit for the kind, held by the minter.

    Group names are expanded: `agent`, `compat`, and `readonly`, which is every `*.read` that the minter
    holds and the kind may hold. Raises InvalidError `scopes_empty`, `unknown_scope` or `invalid`,
    RefusedError `scope_exceeds_minter`; details point at the scope as it was sent.
    """
    if len(wanted) > MOST_SCOPES:
        raise _invalid("/scopes", f"At most {MOST_SCOPES} scopes.")
    named = [(index, scope) for index, name in enumerate(wanted) for scope in _expanded(kind, name, held)]
    if not named:
        raise InvalidError("scopes_empty", "A token names at least one scope.")
    known, fit = frozenset(permission.value for permission in Permission), may_hold(kind)
    _refuse_any(named, lambda scope: scope not in known, InvalidError, "unknown_scope")
    _refuse_any(named, lambda scope: scope not in fit, InvalidError, "invalid")
    _refuse_any(named, lambda scope: scope not in held, RefusedError, "scope_exceeds_minter")
    return sorted({str(scope) for _, scope in named})


def rebounded_scopes(kind: TokenKind, scopes: Iterable[str], held: frozenset[Permission]) -> list[str]:
    """Return what is left of a token's scopes for its successor; InvalidError `scopes_empty` for nothing."""
    bound = {permission.value for permission in may_hold(kind) & held}
    left = sorted(set(scopes) & bound)
    if not left:
        raise InvalidError("scopes_empty", "You hold none of the scopes of this token.")
    return left


def life(kind: TokenKind, days: int | None) -> timedelta:
    """Return how long a token of this kind lives; None asks for the default. InvalidError beyond a year."""
    chosen = DEFAULT_DAYS[kind] if days is None else days
    if not 1 <= chosen <= LONGEST_DAYS[kind]:
        raise _invalid("/expires_in_days", f"A token lives 1 to {LONGEST_DAYS[kind]} days.")
    return timedelta(days=chosen)


def require_label(label: str) -> str:
    """Return the label without outer spaces, or raise InvalidError."""
    text = label.strip()
    if not 1 <= len(text) <= LONGEST_LABEL or not text.isprintable():
        raise _invalid("/label", f"A label has 1 to {LONGEST_LABEL} printable characters.")
    return text


def require_rate(per_minute: int) -> int:
    """Return the rate, or raise InvalidError."""
    if not LOWEST_RATE <= per_minute <= HIGHEST_RATE:
        raise _invalid("/rate_per_minute", f"A rate is {LOWEST_RATE} to {HIGHEST_RATE} calls a minute.")
    return per_minute


def require_networks(texts: Sequence[str]) -> list[str]:
    """Return CIDRs or single addresses as networks in their common form, or raise InvalidError."""
    if len(texts) > MOST_NETWORKS:
        raise _invalid("/allowed_networks", f"At most {MOST_NETWORKS} networks.")
    networks: list[str] = []
    for index, text in enumerate(texts):
        try:
            network = str(ipaddress.ip_network(text.strip(), strict=False))
        except ValueError:
            raise _invalid(f"/allowed_networks/{index}", "This is no network, such as 10.0.0.0/8.") from None
        if network not in networks:
            networks.append(network)
    return networks


def require_overlap(seconds: int) -> timedelta:
    """Return how long a rotated token still works, or raise InvalidError."""
    if not 0 <= seconds <= LONGEST_OVERLAP_SECONDS:
        raise _invalid("/overlap_seconds", f"An overlap lasts 0 to {LONGEST_OVERLAP_SECONDS} seconds.")
    return timedelta(seconds=seconds)


def _expanded(kind: TokenKind, name: str, held: frozenset[Permission]) -> tuple[str, ...]:
    if name == READONLY:
        return tuple(sorted(one for one in held & may_hold(kind) if one.endswith(".read")))
    return GROUPS.get(name, (name,))


def _refuse_any(
    named: Sequence[tuple[int, str]], bad: Callable[[str], bool], error: type[PalyraError], code: str
) -> None:
    found = tuple(Detail(f"/scopes/{index}", code, scope[:80]) for index, scope in named if bad(scope))
    if found:
        raise error(code, "Some scopes cannot be given.", errors=found)


def _invalid(pointer: str, detail: str) -> InvalidError:
    return InvalidError("invalid", detail, errors=(Detail(pointer, "invalid", detail),))
