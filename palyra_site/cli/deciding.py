"""Answering a request from a shell: options that fit together, what was seen, and what is sent."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import TYPE_CHECKING, Any

from palyra_site.cli.approval_words import aligned, pattern_line, request_rows, settled_line
from palyra_site.cli.arguments import parse_json, read_source
from palyra_site.cli.exits import Exit
from palyra_site.cli.failures import CliError, UsageError
from palyra_site.cli.session import Session
from palyra_site.cli.world import World

if TYPE_CHECKING:
    from palyra_site.cli.connection import Answer

EXACT: Mapping[str, Any] = {"v": 1, "constraints": [], "rest": "equal"}
"""What an allow covers when no pattern is sent."""
_NUMBER = re.compile(r"[1-9][0-9]?")


class Verdict(StrEnum):
    ALLOW = "allow"
    DENY = "deny"


class Scope(StrEnum):
    ONCE = "once"
    SESSION = "session"
    TEMPORARY = "temporary"
    ALWAYS = "always"


@dataclass(frozen=True, slots=True)
class Wish:
    """An answer as typed. `pattern` is a number out of the offered ones, or `@file.json`."""

    verdict: Verdict
    scope: Scope | None = None
    ttl_ms: int | None = None
    pattern: str | None = None
    comment: str | None = None
    end_run: bool = False

    @property
    def reach(self) -> Scope | None:
        """The scope that is sent: that of an allow is once unless another was typed."""
        return (self.scope or Scope.ONCE) if self.verdict is Verdict.ALLOW else None


def check(wish: Wish) -> None:
    """Refuse, before any request, options that contradict each other."""
    if wish.verdict is Verdict.DENY:
        if wish.scope is not None or wish.ttl_ms is not None or wish.pattern is not None:
            raise UsageError("--scope, --ttl-ms and --pattern belong to --decision allow.")
        require_comment(wish.comment, "A denial needs --comment.")
        return
    if wish.end_run:
        raise UsageError("--end-run belongs to --decision deny.")
    if wish.scope is Scope.TEMPORARY and wish.ttl_ms is None:
        raise UsageError("--scope temporary needs --ttl-ms.")
    if wish.scope is not Scope.TEMPORARY and wish.ttl_ms is not None:
        raise UsageError("--ttl-ms belongs to --scope temporary.")
    if wish.reach is Scope.ONCE and wish.pattern is not None:
        raise UsageError("--pattern belongs to a --scope wider than once.")
    if wish.reach is Scope.ALWAYS:
        require_comment(wish.comment, "--scope always needs --comment.")


def require_comment(comment: str | None, refusal: str, shortest: int = 1) -> None:
    """Refuse a comment without enough characters beside the space around it."""
    if len((comment or "").strip()) < shortest:
        raise UsageError(refusal)


def typed_pattern(given: str | None, world: World) -> int | Mapping[str, Any] | None:
    """Return the number or the object that --pattern names, or raise UsageError before any request."""
    if given is None:
        return None
    if _NUMBER.fullmatch(given):
        return int(given)
    if not given.startswith("@"):
        raise UsageError("--pattern takes a number of `palyra approvals patterns ID`, or @file.json.")
    value = parse_json(read_source(given, world))
    if not isinstance(value, dict):
        raise UsageError("A pattern is a JSON object.")
    return value


def chosen_pattern(
    session: Session, request_id: str, wish: Wish, wanted: int | Mapping[str, Any] | None
) -> Mapping[str, Any] | None:
    """Say on standard error what an allow would cover, and return the pattern to send.

    Without one the server takes the call itself. An allow of scope once covers nothing else anyhow.
    """
    if wish.reach in (None, Scope.ONCE):
        return None
    page = session.api.approvals.patterns(request_id).page({}).data
    offered = [one for one in page.get("data") or () if isinstance(one, dict)]
    pattern = _numbered(offered, wanted, request_id) if isinstance(wanted, int) else wanted
    for line in _coverage(offered, pattern or EXACT):
        session.say(line)
    return pattern


def _numbered(offered: Iterable[Mapping[str, Any]], number: int, request_id: str) -> Mapping[str, Any]:
    found = next((one.get("pattern") for one in offered if one.get("id") == str(number)), None)
    if not isinstance(found, dict):
        raise UsageError(f"There is no pattern {number}.", hint=f"palyra approvals patterns {request_id}")
    return found


def _coverage(offered: Iterable[Mapping[str, Any]], wanted: Mapping[str, Any]) -> Iterable[str]:
    found = [one for one in offered if one.get("pattern") == wanted]
    if found:
        return [f"pattern {pattern_line(one)}" for one in found[:1]]
    if wanted == EXACT:
        return ["pattern: exactly this call"]
    return [f"pattern: {line}" for line in aligned(_constraints(wanted))]


def _constraints(pattern: Mapping[str, Any]) -> Iterable[tuple[str, Any]]:
    given = pattern.get("constraints")
    for one in given if isinstance(given, list) else ():
        if isinstance(one, dict):
            yield str(one.get("pointer")), {name: one[name] for name in one if name != "pointer"}
    yield "everything else", pattern.get("rest")


def seen_request(session: Session, request_id: str, version: int | None) -> tuple[Answer, str]:
    """Return a request that still waits and the ETag to answer it with, having shown it on standard error.

    Reading needs no one-time code: the one that was given is for the answer.
    """
    seen = session.api.approvals.show(request_id)
    refuse_settled(seen.data)
    for line in aligned(request_rows(seen.data)):
        session.say(line)
    return seen, etag_of(request_id, seen, version)


def etag_of(request_id: str, seen: Answer, version: int | None) -> str:
    """Return the ETag of what was seen, or of the version that was named instead."""
    if version is not None:
        return f'"{request_id}:{version}"'
    tag = seen.headers.get("ETag")
    if not tag:
        raise CliError(
            "invalid_answer", "The server sent no version of the request.", exit_code=Exit.INTERNAL
        )
    return tag


def refuse_settled(approval: Mapping[str, Any], document: Mapping[str, object] | None = None) -> None:
    """Raise `already_decided` for a request that no longer waits, with its end, its time and by whom."""
    if approval.get("state") == "pending":
        return
    raise CliError(
        "already_decided",
        settled_line(approval),
        exit_code=Exit.CONFLICT,
        hint=f"palyra approvals show {approval.get('id')}",
        document=document,
    )


def answered(session: Session, request_id: str, verb: str, body: Mapping[str, Any], etag: str) -> Answer:
    """Send an answer, with a one-time code where one is given or asked for.

    When somebody else was faster, the conflict says who.
    """
    key = session.new_key()
    api = session.api.approvals
    try:
        return session.with_step_up(
            lambda otp: api.answer(request_id, verb, {**body, "otp": otp}, if_match=etag, key=key)
        )
    except CliError as error:
        if error.code == "already_decided":
            _name_the_faster(session, request_id, error)
        raise


def _name_the_faster(session: Session, request_id: str, error: CliError) -> None:
    try:
        now = session.api.approvals.show(request_id).data
    except CliError:
        return
    refuse_settled(now, error.document)
