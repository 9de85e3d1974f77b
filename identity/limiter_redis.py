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

local function standing(key)
  local flat, newest = redis.call('HGETALL', key), math.floor(now / 1000)
  local present = newest
  for i = 1, #flat, 2 do newest = math.max(newest, tonumber(flat[i])) end
  local kept, stale, total = {{}}, {{}}, 0
  for i = 1, #flat, 2 do
    local at, count = tonumber(flat[i]), tonumber(flat[i + 1])
    if at >= newest - span then
      kept[#kept + 1] = {{at, count}}
      total = total + count
    else
      stale[#stale + 1] = flat[i]
    end
  end
  if newest - present > span then
    redis.call('DEL', key)
    if total > 0 then redis.call('HSET', key, present, total) end
    redis.call('EXPIRE', key, 2 * span + 2)
    return {{{{present, total}}}}, total, present
  end
  if #stale > 0 then redis.call('HDEL', key, unpack(stale)) end
  return kept, total, newest
end

local function wait_for(kept, leaving)
  if leaving <= 0 then return 0 end
  for _, bucket in ipairs(kept) do
    leaving = leaving - bucket[2]
    if leaving <= 0 then return math.max(0, (bucket[1] + span + 1) * 1000 - now) end
  end
  return 0
end

local function admit(key, limit)
  local kept, total, second = standing(key)
  local admitted = total < limit
  if admitted then
    redis.call('HINCRBY', key, second, 1)
    redis.call('EXPIRE', key, 2 * span + 2)
    kept[#kept + 1] = {{second, 1}}
    total = total + 1
  end
  table.sort(kept, function(a, b) return a[1] < b[1] end)
  local left = math.max(0, limit - total)
  return {{admitted and 1 or 0, left, wait_for(kept, 1), wait_for(kept, total - limit + 1)}}
end
"""

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
