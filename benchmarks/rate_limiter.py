"""One request counted: our exact rolling minute in Redis beside a plain INCR of a fixed minute.

Both share one Redis on loopback and the Python client; ours runs a script over up to 61 buckets, here
with all of them filled. The limiter in the database is shown besides, on SQLite.
"""

from __future__ import annotations

import shutil

import redis

from benchmarks.installation import founded
from benchmarks.measuring import medians, report, show
from tests.support_servers import redis_process

TARGET = 1.5
LIMIT = 10_000_000


def main() -> None:
    if shutil.which("redis-server") is None:
        raise SystemExit("redis-server is not installed")
    with redis_process() as server, founded():
        from identity import limiter_redis, limiter_rows  # noqa: PLC0415  # need the setup
        from kernel.clock import utc_now  # noqa: PLC0415  # as above

        url = f"{server}/0"
        plain = redis.Redis.from_url(url)
        _fill(plain, "palyra:rate:full")

        def fixed_window() -> None:
            key = f"plain:{int(utc_now().timestamp()) // 60}"
            with plain.pipeline() as commands:
                commands.incr(key)
                commands.expire(key, 61)
                commands.execute()

        found = medians(
            {
                "rolling minute, Redis, 61 buckets": lambda: limiter_redis.admit(
                    url=url, key="full", limit=LIMIT
                ),
                "rolling minute, Redis, refused": lambda: limiter_redis.admit(url=url, key="full", limit=1),
                "plain INCR and EXPIRE": fixed_window,
                "plain INCR alone": lambda: plain.incr("plain"),
                "rolling minute, SQLite": lambda: limiter_rows.admit(key="k", limit=LIMIT, now=utc_now()),
            },
            rounds=1500,
        )
    show("one request counted", found, "plain INCR and EXPIRE")
    ours, reference = found["rolling minute, Redis, 61 buckets"], found["plain INCR and EXPIRE"]
    report("rate_limiter", ours=ours, reference=reference, target=TARGET)


def _fill(client: redis.Redis, key: str) -> None:
    """Put one count into each of the seconds that count."""
    seconds, _ = client.time()
    newest = int(seconds)
    for second in range(newest - 60, newest + 1):
        client.hset(key, str(second), "1")
    for name, value in (("total", 61), ("newest", newest), ("oldest", newest - 60)):
        client.hset(key, name, str(value))


if __name__ == "__main__":
    main()
