"""Finding a token's row among a million beside finding it among a thousand, on SQLite.

`ours` and `reference` are `authenticate` with tokens drawn at random from those that exist, so that it
is not one page of the index that stays warm.
"""

from __future__ import annotations

import itertools
import random
from collections.abc import Callable

from benchmarks.installation import founded
from benchmarks.measuring import medians, report, show

TARGET = 1.2
FEW, MANY = 1_000, 1_000_000
KEPT = 400
ROUNDS = 800


def main() -> None:
    with founded() as ready:
        add, ask = _setup(ready.agent_token)
        few = add(FEW)
        found = {"among a thousand": medians({"few": lambda: ask(random.choice(few))}, rounds=ROUNDS)["few"]}
        many = add(MANY - FEW)
        found["among a million"] = medians({"many": lambda: ask(random.choice(many))}, rounds=ROUNDS)["many"]
    show("one token found and verified", found, "among a thousand")
    report("token_lookup", ours=found["among a million"], reference=found["among a thousand"], target=TARGET)


def _setup(agent_token: str) -> tuple[Callable[[int], list[str]], Callable[[str], object]]:
    """Return `add`, which inserts so many tokens and returns the texts of some, and `ask`."""
    from django.db import connection  # noqa: PLC0415  # needs the setup

    from identity.authentication import authenticate  # noqa: PLC0415  # as above
    from identity.models import ApiToken  # noqa: PLC0415  # as above
    from identity.tokens import TokenKind, format_token, new_token, token_digest  # noqa: PLC0415  # as above
    from kernel.clock import utc_now  # noqa: PLC0415  # as above

    pattern = ApiToken.objects.get(lookup=agent_token.split("_")[2])
    columns = [str(field.column) for field in ApiToken._meta.concrete_fields]
    stored = {field.attname: getattr(pattern, field.attname) for field in ApiToken._meta.concrete_fields}
    numbers = itertools.count()

    def known() -> str:
        parts = new_token(TokenKind.AGENT)
        text, own = format_token(parts), f"tok_{next(numbers):026d}"
        changes = {"id": own, "family": own, "lookup": parts.lookup, "digest": token_digest(text)}
        ApiToken.objects.create(**stored | changes)
        return text

    def add(count: int) -> list[str]:
        with connection.cursor() as cursor:
            cursor.execute(_copies(columns), [count - KEPT, pattern.pk])
        return [known() for _ in range(KEPT)]

    def ask(text: str) -> object:
        header = (f"Bearer {text}",)
        return authenticate(authorization=header, client_ip="127.0.0.1", request_id="r", now=utc_now())

    return add, ask


def _copies(columns: list[str]) -> str:
    """Return the statement that copies one token so many times, with random ids, lookups and digests."""
    own = {
        "id": "'tok_' || hex(randomblob(13))",
        "family": "'tok_' || hex(randomblob(13))",
        "lookup": "hex(randomblob(6))",
        "digest": "randomblob(32)",
    }
    names = ", ".join(f'"{name}"' for name in columns)
    values = ", ".join(own.get(name, f't."{name}"') for name in columns)
    numbers = "WITH RECURSIVE number(n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM number WHERE n < %s)"
    return (
        f"{numbers} INSERT INTO identity_apitoken ({names}) "  # noqa: S608  # our own columns
        f"SELECT {values} FROM number, identity_apitoken t WHERE t.id = %s"
    )


if __name__ == "__main__":
    main()
