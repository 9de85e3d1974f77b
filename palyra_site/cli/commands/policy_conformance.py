"""`palyra policy conformance`: a whole corpus of Cedar cases through a running server."""

from __future__ import annotations

import json
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import typer

from palyra_site.cli.exits import Exit
from palyra_site.cli.failures import CliError, UsageError
from palyra_site.cli.session import Session, current

MAX_REQUESTS = 64
PROGRESS = 500
PATIENCE = 30
"""How often in a row a case may meet a spent rate limit; each time waits for what the server says."""
COLUMNS = ("case", "request", "what", "expected", "answered")
_SENT = ("principal", "action", "resource", "context")

Corpus = Annotated[
    Path, typer.Option("--corpus", help="Directory with the cases: *.json beside what they name.")
]
Workers = Annotated[int, typer.Option("--workers", min=1, max=16, help="Requests at the same time.")]


@dataclass(frozen=True, slots=True)
class Outcome:
    """One case: how many requests it had, and every difference."""

    requests: int
    differences: tuple[dict[str, Any], ...]


def conformance(ctx: typer.Context, *, corpus: Corpus, workers: Workers = 2) -> None:
    """Compare the server's answers with a corpus in the format of cedar-integration-tests.

    Decisions, sets of determining policies, numbers of errors and the outcome of validation. Every
    difference is one row; exit 12 when there is one. A token of 10,000 requests a minute is soonest done.
    """
    session = current(ctx)
    cases = find_cases(corpus)
    requests = 0
    differences: list[dict[str, Any]] = []
    with ThreadPoolExecutor(workers) as pool:
        outcomes = pool.map(lambda case: judge(session, corpus, case), cases)
        for number, outcome in enumerate(outcomes, start=1):
            requests += outcome.requests
            differences.extend(outcome.differences)
            if number % PROGRESS == 0:
                session.say(f"{number} of {len(cases)} cases, {len(differences)} differences")
    session.output.items(differences, COLUMNS)
    session.say(f"{len(cases)} cases, {requests} requests, {len(differences)} differences")
    if differences:
        raise typer.Exit(Exit.FINDINGS)


def register(app: typer.Typer) -> None:
    """Add the command to `palyra policy`."""
    app.command(epilog="Example: palyra policy conformance --corpus corpus-tests --workers 4")(conformance)


def find_cases(corpus: Path) -> list[Path]:
    """Return the files that describe cases, by name; UsageError when there is none."""
    found = sorted(path for path in corpus.glob("*.json") if not path.name.endswith(".entities.json"))
    if not found:
        raise UsageError(f"{corpus} holds no cases.")
    return found


def judge(session: Session, corpus: Path, case: Path) -> Outcome:
    """Send one case, in parts if it has many requests, and compare all answers."""
    described = _read_json(case)
    expected = described.get("requests", [])
    common = {
        "policies": _beside(corpus, described, "policies").read_text(encoding="utf-8"),
        "schema": _beside(corpus, described, "schema").read_text(encoding="utf-8"),
        "entities": _read_json(_beside(corpus, described, "entities")),
    }
    found: list[dict[str, Any]] = []
    for start in range(0, max(1, len(expected)), MAX_REQUESTS):
        part = expected[start : start + MAX_REQUESTS]
        sent = [{name: request[name] for name in _SENT if name in request} for request in part]
        try:
            answer = _ask(session, {**common, "requests": sent})
        except CliError as error:
            if error.exit_code is not Exit.USAGE:
                raise
            found.append(_difference(case, start, "case", "judged", f"{error.code}: {error.detail}"))
            continue
        if start == 0 and "shouldValidate" in described:
            found.extend(
                _unequal(case, "", "validation", described["shouldValidate"], answer["validation"]["passed"])
            )
        for offset, (wanted, given) in enumerate(zip(part, answer["results"], strict=True)):
            found.extend(_compare(case, start + offset, wanted, given))
    return Outcome(len(expected), tuple(found))


def _ask(session: Session, case: dict[str, Any]) -> dict[str, Any]:
    """Return the answer, however often the token's limit or the server's turns ask to wait for it."""
    for attempt in range(PATIENCE):
        try:
            return session.api.judge_case(case).data
        except CliError as error:
            if error.code not in ("rate_limited", "not_ready") or attempt == PATIENCE - 1:
                raise
            session.world.sleep(1.0)
    raise AssertionError("the last attempt returns or raises")


def _compare(case: Path, number: int, wanted: Any, given: Any) -> Iterator[dict[str, Any]]:
    yield from _unequal(case, number, "decision", str(wanted["decision"]).lower(), given["decision"])
    yield from _unequal(case, number, "reasons", sorted(wanted["reason"]), sorted(given["reasons"]))
    yield from _unequal(case, number, "errors", len(wanted["errors"]), len(given["errors"]))


def _unequal(
    case: Path, number: object, what: str, wanted: object, given: object
) -> Iterator[dict[str, Any]]:
    if wanted != given:
        yield _difference(case, number, what, wanted, given)


def _difference(case: Path, number: object, what: str, wanted: object, given: object) -> dict[str, Any]:
    return {"case": case.stem, "request": number, "what": what, "expected": wanted, "answered": given}


def _beside(corpus: Path, described: dict[str, Any], part: str) -> Path:
    """Return a file that a case names: by its own path under the corpus or beside it, never elsewhere."""
    name = described.get(part)
    if not isinstance(name, str):
        raise UsageError(f"A case names no {part}.")
    within = corpus.resolve().parent
    for path in (corpus / Path(name).name, within / name):
        if path.resolve().is_relative_to(within) and path.is_file():
            return path
    raise UsageError(f"The file {name} is missing.")


def _read_json(path: Path) -> Any:
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise UsageError(f"{path} is no JSON file.") from error
