"""The worker of notifications: it makes what is to be sent, sends it side by side, and writes how it went.

Every read and write of the database is done by the calling thread; other threads only talk to the network.
"""

from __future__ import annotations

import logging
import random
from collections.abc import Callable, Iterator
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from dataclasses import dataclass, field
from datetime import datetime
from functools import partial
from itertools import count
from typing import Any, TypeVar

from governance.notifications import delivery, mail, sending
from governance.notifications.delivery import Claim
from governance.notifications.mail import Posting
from governance.notifications.models import OutboxEvent
from governance.notifications.sending import Answer
from governance.notifications.signing import signed_headers
from governance.notifications.webhooks import reach
from governance.operations import deliveries
from governance.stopping import drain
from kernel.errors import ConflictError

log = logging.getLogger(__name__)

SIDE_BY_SIDE = 16
BATCH = 100
LOOK_SECONDS = 0.25
MAIL = "mail"

Clock = Callable[[], datetime]
Made = TypeVar("Made")


@dataclass(frozen=True, slots=True)
class Network:
    """What leaves this machine; tests put their own in its place."""

    post: Callable[[Claim, datetime], Answer]
    send: Callable[[Posting], str]


def real_network() -> Network:
    return Network(post=post, send=lambda posting: mail.send(posting.message))


def waits(now: datetime) -> bool:
    """Tell whether anything is to be sent now: for the sweeper, in case a wake-up was lost."""
    told = OutboxEvent.objects.filter(fanned_at__isnull=True).exists()
    return told or delivery.is_anything_due(now) or bool(mail.due_ids(now, 1))


def post(claim: Claim, now: datetime) -> Answer:
    """Make one attempt: signed with the time of the attempt itself."""
    signed = signed_headers(
        message_id=claim.event_id, timestamp=int(now.timestamp()), body=claim.body, secrets=claim.secrets
    )
    headers = {"Content-Type": "application/json", "User-Agent": "Palyra-Webhooks/1", **signed}
    return sending.post(claim.url, headers, claim.body, reach=reach())


def work(clock: Clock, network: Network | None = None) -> int:
    """Tell whoever is to be told until nothing is left that is due; return how many attempts there were.

    Stops taking anything new when the worker is asked to stop, and still writes how the rest went.
    """
    with ThreadPoolExecutor(max_workers=SIDE_BY_SIDE, thread_name_prefix="notify") as pool:
        return _Round(clock, network or real_network(), pool).run()


@dataclass(frozen=True, slots=True)
class _Flight:
    """An attempt on its way, and how its outcome is written."""

    outcome: Future[Any]
    settle: Callable[[Any], None]

    def land(self) -> None:
        self.settle(self.outcome.result())


@dataclass(slots=True)
class _Round:
    """One waking of the worker. A lane is an endpoint, or all mail: it has one attempt at a time.

    What cannot be taken or written for a reason nobody expects is left alone until the next waking.
    """

    clock: Clock
    network: Network
    pool: ThreadPoolExecutor
    flights: dict[str, _Flight] = field(default_factory=dict)
    skipped: set[str] = field(default_factory=set)
    turns: dict[str, int] = field(default_factory=dict)
    counter: Iterator[int] = field(default_factory=lambda: count(1))
    attempts: int = 0

    def run(self) -> int:
        while True:
            moved = not drain.begun and self._take()
            if self.flights:
                self._land()
            elif not moved:
                return self.attempts

    def _take(self) -> bool:
        """Take up what waits; tell whether there was anything."""
        return any((self._fan_out(), self._start_webhooks(), self._start_mail()))

    def _fan_out(self) -> bool:
        waiting = OutboxEvent.objects.filter(fanned_at__isnull=True).exclude(pk__in=self.skipped)
        found = tuple(waiting.order_by("pk").values_list("pk", flat=True)[:BATCH])
        for event_id in found:
            self._guarded(event_id, partial(deliveries.fan_out, event_id=event_id, now=self.clock()))
        return bool(found)

    def _start_webhooks(self) -> bool:
        free = SIDE_BY_SIDE - len(self.flights)
        busy = self.skipped | self.flights.keys()
        waiting = delivery.due(busy=busy, now=self.clock()) if free > 0 else ()
        # In turn: a receiver with an old and slow backlog must not come first again and again.
        found = sorted(waiting, key=lambda lane: self.turns.get(lane[0], 0))[: max(free, 0)]
        for endpoint_id, delivery_id in found:
            self.turns[endpoint_id] = next(self.counter)
            take = partial(deliveries.claim, delivery_id=delivery_id, now=self.clock())
            claim = self._guarded(endpoint_id, take)
            if claim is not None:
                self._start(
                    endpoint_id, partial(self.network.post, claim, self.clock()), self._settling(claim)
                )
        return bool(found)

    def _start_mail(self) -> bool:
        if MAIL in self.flights or MAIL in self.skipped:
            return False
        due = mail.due_ids(self.clock(), 1 + len(self.skipped))
        found = [one for one in due if f"{MAIL} {one}" not in self.skipped][:1]
        for mail_id in found:
            take = partial(deliveries.claim_mail, mail_id=mail_id, now=self.clock())
            posting = self._guarded(f"{MAIL} {mail_id}", take)
            if posting is not None:
                self._start(MAIL, partial(self.network.send, posting), self._mail_settling(posting))
        return bool(found)

    def _start(self, lane: str, send: Callable[[], object], settle: Callable[[Any], None]) -> None:
        self.flights[lane] = _Flight(self.pool.submit(send), settle)
        self.attempts += 1

    def _settling(self, claim: Claim) -> Callable[[Answer], None]:
        def settle(answer: Answer) -> None:
            spread = random.uniform(-1, 1)  # noqa: S311 - spreads load, guards nothing
            deliveries.settle(claim=claim, answer=answer, spread=spread, now=self.clock())

        return settle

    def _mail_settling(self, posting: Posting) -> Callable[[str], None]:
        return lambda error: deliveries.settle_mail(posting=posting, error=error, now=self.clock())

    def _land(self) -> None:
        """Wait a moment for what is on its way, and write how it went."""
        wait([flight.outcome for flight in self.flights.values()], LOOK_SECONDS, FIRST_COMPLETED)
        for lane in [lane for lane, flight in self.flights.items() if flight.outcome.done()]:
            flight = self.flights.pop(lane)
            self._guarded(lane, flight.land)

    def _guarded(self, name: str, step: Callable[[], Made]) -> Made | None:
        """Do one step. Another worker's is nobody's fault; whatever else fails is not tried this round."""
        try:
            return step()
        except ConflictError:
            return None
        except Exception:
            log.exception("notifications: %s", name)
            self.skipped.add(name)
            return None
