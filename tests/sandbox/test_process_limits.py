"""Bombs, inside the sandbox and with an outer limit of time."""

from __future__ import annotations

import hashlib

import pytest

from sandbox.spec import MIB
from tests.sandbox.process_builders import (
    Sandbox,
    marker,
    processes_with,
    sleep_seconds,
    tier_c_spec,
    wait_until,
)

pytestmark = pytest.mark.sandbox


def test_a_fork_bomb_stays_within_its_processes(box: Sandbox) -> None:
    bomb = """
import os, time
while True:
    try:
        os.fork()
    except OSError:
        time.sleep(0.05)
"""
    mark = marker()
    spec = tier_c_spec(wall_timeout_ms=3_000, cpu_time_limit_ms=60_000)
    most = 0
    with box.running("python3", "-c", bomb, mark, spec=spec) as outcomes:
        while not outcomes:
            # bubblewrap's monitor and PID 1 carry the tool's arguments too.
            most = max(most, len(processes_with(mark)) - 2)

    assert 8 <= most <= 32
    assert outcomes[0].status == "timed_out"
    assert processes_with(mark) == []


def test_a_process_that_hogs_memory_exceeds_its_quota(box: Sandbox) -> None:
    outcome = box.python("hoard = []\nwhile True: hoard.append(bytearray(4 << 20))")

    assert (outcome.error_kind, outcome.detail) == ("QuotaExceeded", {"resource": "memory"})
    assert outcome.usage["max_rss"] < 400 * MIB


def test_a_tree_that_hogs_memory_is_killed(box: Sandbox) -> None:
    script = """
import os, time
for _ in range(5):
    if os.fork() == 0:
        block = bytearray(90 << 20)
        time.sleep(20)
time.sleep(20)
"""
    mark = marker()

    outcome = box.python(script, mark)

    assert (outcome.error_kind, outcome.error_code) == ("QuotaExceeded", "sandbox.quota_memory")
    assert (outcome.exit_code, outcome.signal) == (None, None)
    assert processes_with(mark) == []


def test_a_shared_mapping_counts_as_memory(box: Sandbox) -> None:
    chunks = """
import mmap, time
m = mmap.mmap(-1, 600 << 20)
for _ in range(600):
    m.write(bytes(1 << 20))
time.sleep(20)
"""

    outcome = box.python(chunks, spec=tier_c_spec(address_space="reserved"))

    assert (outcome.error_kind, outcome.error_code) == ("QuotaExceeded", "sandbox.quota_memory")


def test_memory_shared_by_a_fork_is_counted_once(box: Sandbox) -> None:
    script = """
import os, time
block = bytearray(90 << 20)
for _ in range(4):
    if os.fork() == 0:
        time.sleep(0.3)
        os._exit(0)
for _ in range(4):
    os.wait()
"""
    assert box.python(script).status == "succeeded"


def test_an_output_flood_ends_the_tool(box: Sandbox) -> None:
    mark = marker()

    outcome = box.python("import sys\nwhile True: sys.stdout.write('y' * 4096)", mark)

    assert (outcome.error_kind, outcome.detail) == ("QuotaExceeded", {"resource": "output"})
    assert len(outcome.stdout) < 66_000
    assert outcome.dropped_bytes > 7 * 65_536
    assert processes_with(mark) == []


def test_output_over_the_cap_keeps_head_tail_and_the_digest_of_all(box: Sandbox) -> None:
    script = """
import sys
sys.stdout.write('<' + 'x' * (16 * 1024 * 1024 - 2) + '>')
"""
    expected = hashlib.sha256(b"<" + b"x" * (16 * MIB - 2) + b">").hexdigest()

    outcome = box.python(script, spec=tier_c_spec(max_output_bytes=4 * MIB))

    assert (outcome.status, outcome.stdout_truncated) == ("succeeded", True)
    assert outcome.dropped_bytes == 12 * MIB
    assert outcome.stdout_sha256 == f"sha256:{expected}"
    assert (outcome.stdout[0], outcome.stdout[-1]) == ("<", ">")


def test_a_double_forked_sleeper_does_not_survive(box: Sandbox) -> None:
    seconds = sleep_seconds()

    outcome = box.shell(
        f"(setsid sleep {seconds} & ) ; (setsid setsid sleep {seconds} & ); sleep 0.1; exit 0"
    )

    assert outcome.status == "succeeded"
    assert processes_with(seconds) == []


def test_a_background_child_that_holds_stdout_does_not_delay_the_result(box: Sandbox) -> None:
    seconds = sleep_seconds()

    outcome = box.shell(f"sleep {seconds} & echo done")

    assert (outcome.status, outcome.stdout) == ("succeeded", "done\n")
    assert processes_with(seconds) == []


def test_a_timeout_ends_a_tool_that_ignores_sigterm(box: Sandbox) -> None:
    seconds = sleep_seconds()

    outcome = box.shell(
        f"trap '' TERM; sleep {seconds} & wait; sleep {seconds}", spec=tier_c_spec(wall_timeout_ms=500)
    )

    assert (outcome.status, outcome.error_kind) == ("timed_out", "TimedOut")
    assert (outcome.exit_code, outcome.signal) == (None, None)
    assert processes_with(seconds) == []


def test_a_timeout_first_asks_with_sigterm(box: Sandbox) -> None:
    script = "trap 'echo asked > asked; exit' TERM; while true; do sleep 0.02; done"

    outcome = box.shell(script, spec=tier_c_spec(wall_timeout_ms=500))

    assert outcome.status == "timed_out"
    assert (box.workspace / "asked").read_text() == "asked\n"


def test_processor_time_of_the_whole_tree_is_limited(box: Sandbox) -> None:
    script = "import os\nfor _ in range(3): os.fork()\nwhile True: pass"

    outcome = box.python(script, spec=tier_c_spec(cpu_time_limit_ms=500))

    assert (outcome.error_kind, outcome.detail) == ("QuotaExceeded", {"resource": "cpu"})


@pytest.mark.parametrize(("place", "size"), [("/tmp", 4 * MIB), ("/dev/shm", MIB)])
def test_scratch_space_is_capped(box: Sandbox, place: str, size: int) -> None:
    script = f"""
import os
open('{place}/full', 'wb', 0).write(bytes(16 << 20))
print(os.path.getsize('{place}/full'))
"""

    outcome = box.python(script, spec=tier_c_spec(tmp_bytes=4 * MIB, shm_bytes=MIB))

    assert 0 < int(outcome.stdout) <= size


def test_a_file_larger_than_allowed_is_not_written(box: Sandbox) -> None:
    outcome = box.python(
        "import signal; signal.signal(25, signal.SIG_DFL); open('big', 'wb', 0).write(bytes(2 << 20)); "
        "open('big', 'ab', 0).write(b'x')",
        spec=tier_c_spec(max_file_bytes=MIB),
    )

    assert (box.workspace / "big").stat().st_size == MIB
    assert (outcome.error_kind, outcome.detail) == ("QuotaExceeded", {"resource": "file_size"})


def test_no_core_file_is_written(box: Sandbox) -> None:
    outcome = box.python("import os; os.abort()")

    assert (outcome.signal, outcome.exit_code, outcome.error_kind) == (6, None, "RuntimeFailure")
    assert list(box.workspace.iterdir()) == []


def test_a_tool_cannot_raise_its_own_limits(box: Sandbox) -> None:
    script = """
import resource
for number in (resource.RLIMIT_NPROC, resource.RLIMIT_AS, resource.RLIMIT_FSIZE, resource.RLIMIT_CORE):
    try:
        resource.setrlimit(number, (-1, -1))
    except (OSError, ValueError):
        print('refused')
"""
    assert box.python(script).stdout == "refused\n" * 4


def test_nothing_is_left_of_many_short_runs(box: Sandbox) -> None:
    mark = marker()
    for _ in range(5):
        assert box.run("echo", mark).stdout == f"{mark}\n"

    wait_until(lambda: processes_with(mark) == [])
