"""One of several client processes: `python -m tests.e2e.asking ADDRESS COUNT`, the token on stdin.

Asks one after another on one connection and writes a JSON list of [status, left, begun, ended].
"""

from __future__ import annotations

import http.client
import json
import re
import sys
import time


def main(address: str, count: int, token: str) -> None:
    connection = http.client.HTTPConnection(address, timeout=60)
    headers = {"Authorization": f"Bearer {token}"}
    json.dump([_ask(connection, headers) for _ in range(count)], sys.stdout)


def _ask(connection: http.client.HTTPConnection, headers: dict[str, str]) -> tuple[int, int, float, float]:
    begun = time.time()
    connection.request("GET", "/api/v1/whoami", headers=headers)
    answer = connection.getresponse()
    answer.read()
    left = re.fullmatch(r'"token";r=(\d+);t=\d+', answer.getheader("RateLimit", ""))
    return answer.status, int(left[1]) if left else -1, begun, time.time()


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]), sys.stdin.read())
