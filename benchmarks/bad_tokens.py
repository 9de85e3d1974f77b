"""How long each kind of bad credential takes to be refused, so that time does not tell them apart.

Each is sent through the whole API in this process: checks, throttle, count of refusals and answer.
`reference` is the median over all kinds, `ours` the median of the kind that is furthest from it, and
the ratio says how far: 1.1 is ten percent more or less. Addresses change, so that nobody has to wait.
A malformed token is refused without looking for a row, which whoever sends it can know beforehand.
"""

from __future__ import annotations

import itertools
import statistics
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path

from benchmarks.installation import founded
from benchmarks.measuring import Subject, medians, report, show

TARGET = 1.1
ROUNDS = 400


def main() -> None:
    with founded(in_memory=True) as ready:
        found = medians(_subjects(ready.agent_token), rounds=ROUNDS)
    overall = statistics.median(found.values())
    show("one refusal", found | {"all": overall}, "all")
    furthest = max(found.values(), key=lambda median: max(median / overall, overall / median))
    far, near = max(furthest, overall), min(furthest, overall)
    report("bad_tokens", ours=far, reference=near, target=TARGET)


def _subjects(good: str) -> dict[str, Subject]:
    from django.conf import settings  # noqa: PLC0415  # needs the setup
    from django.core import signals  # noqa: PLC0415  # as above
    from django.db import close_old_connections  # noqa: PLC0415  # as above
    from django.test import Client  # noqa: PLC0415  # as above

    # A server's other threads keep the database open; here each answer would close and reopen it.
    signals.request_started.disconnect(close_old_connections)
    signals.request_finished.disconnect(close_old_connections)
    Path(settings.STATIC_ROOT).mkdir(exist_ok=True)  # or its middleware warns
    client = Client(SERVER_NAME="127.0.0.1")
    numbers = itertools.count()

    def send(text: str) -> Callable[[], None]:
        headers = {"Authorization": f"Bearer {text}"}

        def subject() -> None:
            number = next(numbers)
            address = f"10.0.{number % 4}.{number // 4 % 250}"
            answer = client.get("/api/v1/whoami", headers=headers, REMOTE_ADDR=address)
            if answer.status_code != 401:
                raise SystemExit(f"answered {answer.status_code}")

        return subject

    return {name: send(text) for name, text in _texts(good).items()}


def _texts(good: str) -> dict[str, str]:
    """Return a token of each bad kind, made from rows that are changed as time or people would."""
    from identity.models import ApiToken  # noqa: PLC0415  # needs the setup
    from identity.tokens import TokenKind, format_token, new_token, token_digest  # noqa: PLC0415  # as above
    from kernel.clock import utc_now  # noqa: PLC0415  # as above

    now, pattern = utc_now(), ApiToken.objects.get(lookup=good.split("_")[2])
    stored = {field.attname: getattr(pattern, field.attname) for field in ApiToken._meta.concrete_fields}

    def like_good(number: int, **changes: object) -> str:
        parts = new_token(TokenKind.AGENT)
        text, own = format_token(parts), f"tok_0000000000000000000000000{number}"
        same = {"id": own, "family": own, "lookup": parts.lookup, "digest": token_digest(text)}
        ApiToken.objects.create(**stored | same | changes)
        return text

    return {
        "malformed": good[:-1] + ("0" if good[-1] != "0" else "1"),
        "unknown": format_token(new_token(TokenKind.AGENT)),
        "wrong digest": like_good(1, digest=token_digest("another")),
        "revoked": like_good(2, revoked_at=now),
        "expired": like_good(3, expires_at=now - timedelta(days=1)),
        "inactive": _of_somebody_inactive(like_good, stored),
        "wrong network": like_good(5, allowed_networks=["192.0.2.0/24"]),
    }


def _of_somebody_inactive(like_good: Callable[..., str], stored: dict[str, object]) -> str:
    """A token of another agent, which is suspended."""
    from identity.models import Agent  # noqa: PLC0415  # needs the setup

    agent = Agent.objects.get(pk=str(stored["principal_agent_id"]))
    agent.pk, agent.name, agent.state = "agt_00000000000000000000000004", "suspended", "suspended"
    agent.save(force_insert=True)
    return like_good(4, principal_agent_id=agent.pk)


if __name__ == "__main__":
    main()
