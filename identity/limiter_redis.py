"""The limiter in Redis: the rules of `sliding_window` and `throttle` as scripts, by the clock of Redis.

One script is one atomic step on the one server, so any number of processes share a limit exactly.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

from redis import ConnectionError as RedisConnectionError, Redis
from redis.backoff import NoBackoff
from redis.commands.core import Script
from redis.retry import Retry

from identity import throttle
from identity.sliding_window import SPAN, Allowance
from identity.throttle import Turn

PATIENCE_SECONDS = 0.25

CLOCK = """
local clock = redis.call('TIME')
local now = clock[1] * 1000 + math.floor(clock[2] / 1000)
"""

WINDOW = f"""
local span = {SPAN}

local function count_of(key, second)
  return tonumber(redis.call('HGET', key, second) or 0)
end

-- Returns what still counts, the oldest second of it, and the second to count in.
local function standing(key)
  local present = math.floor(now / 1000)
  local stored = redis.call('HMGET', key, 'total', 'newest', 'oldest')
  if not stored[1] then return 0, present, present end
  local total, newest, oldest = tonumber(stored[1]), tonumber(stored[2]), tonumber(stored[3])
  local second = math.max(present, newest)
  if newest - present > span then
    redis.call('DEL', key)
    redis.call('HSET', key, present, total, 'total', total, 'newest', present, 'oldest', present)
    redis.call('EXPIRE', key, 2 * span + 2)
    return total, present, present
  end
  if second - newest > span then
    redis.call('DEL', key)
    return 0, second, second
  end
  if oldest < second - span then
    repeat
      total = total - count_of(key, oldest)
      redis.call('HDEL', key, oldest)
      oldest = oldest + 1
    until total == 0 or (oldest >= second - span and count_of(key, oldest) > 0)
    redis.call('HSET', key, 'total', total, 'oldest', oldest)
  end
  return total, oldest, second
end

local function wait_for(key, leaving, oldest, second)
  if leaving <= 0 then return 0 end
  for at = oldest, second do
    leaving = leaving - count_of(key, at)
    if leaving <= 0 then return math.max(0, (at + span + 1) * 1000 - now) end
  end
  return 0
end

local function admit(key, limit)
  local total, oldest, second = standing(key)
  local admitted = total < limit
  if admitted then
    if total == 0 then oldest = second end
    total = total + 1
    local first = redis.call('HINCRBY', key, second, 1) == 1
    redis.call('HSET', key, 'total', total, 'newest', second, 'oldest', oldest)
    if first then redis.call('EXPIRE', key, 2 * span + 2) end
  end
  local reset = total > 0 and math.max(0, (oldest + span + 1) * 1000 - now) or 0
  local retry = wait_for(key, total - limit + 1, oldest, second)
  return {{admitted and 1 or 0, math.max(0, limit - total), reset, retry}}
end
"""
"""The counts of `sliding_window`, and beside them their sum and ends, so that a request costs the same
however many seconds count."""

ADMIT = f"""{WINDOW}
return admit(KEYS[1], tonumber(ARGV[1]))
"""

FAIL = f"""{WINDOW}
local failures, waiting, waits = KEYS[1], KEYS[2], KEYS[3]
local left = redis.call('PTTL', waiting)
if left > 0 then return {{left, 0}} end
if admit(failures, {throttle.FAILURES_PER_MINUTE})[1] == 1 then return {{0, 0}} end
local number = math.min(redis.call('INCR', waits), 17)
local wait = math.min({throttle.FIRST_WAIT_MS} * 2 ^ (number - 1), {throttle.LONGEST_WAIT_MS})
redis.call('PEXPIRE', waits, wait + {throttle.MEMORY_MS})
redis.call('SET', waiting, number, 'PX', wait)
return {{wait, 1}}
"""


@dataclass(frozen=True, slots=True)
class Scripts:
    """The scripts of one server; Redis gets their text once and afterwards their digest."""

    admit: Script
    fail: Script


def admit(*, url: str, key: str, limit: int) -> Allowance:
    """Count one request of `key` if it fits. Raises whatever the client raises."""
    answer = scripts_of(url).admit(keys=[f"palyra:rate:{key}"], args=[limit])
    admitted, remaining, reset_ms, retry_ms = (int(value) for value in answer)
    return Allowance(admitted == 1, limit, remaining, reset_ms, retry_ms)


def fail(*, url: str, key: str) -> Turn:
    """Count one failed authentication of `key`. Raises whatever the client raises."""
    names = [f"palyra:throttle:{{{key}}}:{part}" for part in ("failures", "waiting", "waits")]
    wait_ms, begins = scripts_of(url).fail(keys=names)
    return Turn(int(wait_ms), begins=begins == 1)


@lru_cache(maxsize=2)
def scripts_of(url: str) -> Scripts:
    """Return the scripts of this server. A connection that Redis closed meanwhile is tried once more;
    a silent Redis is not: counting twice would only narrow the limit, waiting twice would hold up a call.
    """
    client = Redis.from_url(
        url,
        socket_timeout=PATIENCE_SECONDS,
        socket_connect_timeout=PATIENCE_SECONDS,
        retry=Retry(NoBackoff(), 1, supported_errors=(RedisConnectionError,)),
    )
    return Scripts(client.register_script(CLOCK + ADMIT), client.register_script(CLOCK + FAIL))
