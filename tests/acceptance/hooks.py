"""Endpoints at a hostile receiver, events for them while everything breaks, and what must be true in the end."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections import defaultdict
from collections.abc import AsyncIterator
from itertools import count, pairwise
from typing import Any

import aiohttp

from tests.acceptance.hostile import BEHAVIOURS, Hostile, Seen
from tests.acceptance.world import everything
from tests.integration.hubs import SMALLEST, Client, until

POLICY = {"max_attempts": 100, "initial_delay_seconds": 0.1, "max_delay_seconds": 1, "backoff_multiplier": 2}
DELETED = "always-hangs"
_OPEN = ("pending", "in_flight", "retrying")
_PAUSE_SECONDS = 0.05
_NOW_AND_THEN_SECONDS = 0.2
_AT_MOST_UNDER_WAY_SECONDS = 5.0
"""From a request to its attempt in the ledger, with time to spare: it times out after one."""
_LATE_SECONDS = 0.5
"""What lay in a socket already is seen so much later, where the test has much to do."""
_NOTICED_SECONDS = 1.0
"""By when a worker in another process knows that a webhook was deleted."""
_STALE_SECONDS = 1.0
"""In which a process that was paused says what it was about to say, without having looked at the time."""


class Hooks:
    """One endpoint for each behaviour, by path; and when something was killed, or was paused and went on."""

    def __init__(self, receiver: Hostile) -> None:
        self.receiver = receiver
        self.ids: dict[str, str] = {}
        self.killed: list[float] = []
        self.pauses: list[tuple[float, float]] = []
        self.deleted_at = 0.0
        self.acknowledged = 0
        self._numbers = count(1)

    async def register(self, client: Client) -> None:
        for path in (*BEHAVIOURS, DELETED):
            webhook = await client.webhook(
                f"{self.receiver.url}/{path}",
                "workflow.created",
                retry_policy=POLICY,
                timeout_seconds=1,
                ordered=path.startswith("ordered"),
            )
            self.ids[path] = webhook["id"]
            self.receiver.secrets[path] = webhook["secret"]

    async def delete(self, client: Client) -> None:
        """One of whose deliveries some hang and others wait."""
        await self.receiver.next("asked", DELETED)
        assert (await client.delete(f"/webhooks/{self.ids[DELETED]}")).status == 200
        self.deleted_at = time.monotonic()

    @contextlib.asynccontextmanager
    async def fed(self, client: Client, events: int) -> AsyncIterator[None]:
        """At least so many, at once, and then one now and then for as long as the block lasts: what waits in it for
        a request need not wait in vain."""
        over = asyncio.Event()
        feeding = asyncio.create_task(self._feed(client, self.acknowledged + events, over))
        try:
            yield
            over.set()
            await feeding
        finally:
            feeding.cancel()
            await asyncio.gather(feeding, return_exceptions=True)

    async def _feed(self, client: Client, enough: int, over: asyncio.Event) -> None:
        while self.acknowledged < enough or not over.is_set():
            try:
                body = {"name": f"w{next(self._numbers)}", "definition": SMALLEST}
                answer = await client.post("/workflows", body)
            except (aiohttp.ClientError, OSError):
                return
            assert answer.status in (201, 503), answer.body
            self.acknowledged += answer.status == 201
            if answer.status == 503:
                await asyncio.sleep(_PAUSE_SECONDS)
            elif self.acknowledged >= enough:
                with contextlib.suppress(TimeoutError):
                    await asyncio.wait_for(over.wait(), _NOW_AND_THEN_SECONDS)

    async def all_arrived(self, client: Client) -> None:
        """Waits until all have ended, and looks whether it is true what is said of them."""
        events = [each for each in await everything(client) if each["type"] == "workflow.created"]
        assert len(events) >= self.acknowledged
        wanted = {each["id"] for each in events}
        paths = [path for path in self.ids if path != DELETED]

        async def have_come() -> bool:
            return all(self.receiver.arrived[path] >= wanted for path in paths)

        await until(have_come, 60)
        for path in paths:
            await until(lambda path=path: self._has_ended(client, path), 30)
            deliveries = await all_deliveries(client, self.ids[path])
            assert sorted(each["event_id"] for each in deliveries) == sorted(wanted), path
            assert {each["status"] for each in deliveries} == {"succeeded"}, path
            self._are_true(path, deliveries)
        for path in paths:
            if path.startswith("ordered"):
                self._are_in_order(path, [each["id"] for each in events])
        assert self.receiver.wrong == []
        assert self.receiver.of("elsewhere") == []
        await self._nothing_came_after_the_deletion(client)

    async def _has_ended(self, client: Client, path: str) -> bool:
        route = f"/webhooks/{self.ids[path]}/deliveries"
        return not any([(await client.get(route, status=status, limit=1)).data for status in _OPEN])

    def _are_true(self, path: str, deliveries: list[dict[str, Any]]) -> None:
        """What the receiver saw of each delivery, beside what is said of its attempts."""
        by_delivery: defaultdict[str, list[Seen]] = defaultdict(list)
        for seen in self.receiver.of(path):
            by_delivery[seen.delivery].append(seen)
        assert set(by_delivery) == {each["id"] for each in deliveries}
        for delivery in deliveries:
            requests = by_delivery[delivery["id"]]
            assert {each.id for each in requests} == {delivery["event_id"]}
            assert len({each.body for each in requests}) == 1
            self._are_counted(delivery, requests)

    def _are_counted(self, delivery: dict[str, Any], requests: list[Seen]) -> None:
        numbers = [each.number for each in requests]
        assert len(set(numbers)) == len(numbers), "no number is used twice"
        grown = [each.number for each in requests if not self._is_stale(each)]
        assert grown == sorted(grown), "each attempt is later than the one before"
        assert len(numbers) <= delivery["attempt_count"]
        assert max(numbers) <= delivery["attempt_count"]
        listed = {each["attempt"]: each for each in delivery["attempts"]}
        assert len(listed) == len(delivery["attempts"]) <= delivery["attempt_count"]
        seen = {each.number: each for each in requests}
        for number, attempt in listed.items():
            assert (attempt["status_code"] is None) == (attempt["error"] is not None)
            if attempt["status_code"] is not None:
                assert attempt["status_code"] == seen[number].status
        for number in set(seen) - set(listed):
            assert self._was_cut_short(seen[number]), "only who was killed did not come to say so"
        assert delivery["attempts"][-1]["status_code"] == 200

    def _was_cut_short(self, seen: Seen) -> bool:
        return any(
            -_LATE_SECONDS <= killed - seen.began <= _AT_MOST_UNDER_WAY_SECONDS + self._paused(seen.began, killed)
            for killed in self.killed
        )

    def _paused(self, since: float, until: float) -> float:
        """Seconds in which who was paused could say nothing."""
        return sum(max(0.0, min(until, end) - max(since, begin)) for begin, end in self.pauses)

    def _is_stale(self, seen: Seen) -> bool:
        return any(end <= seen.began <= end + _STALE_SECONDS for _, end in self.pauses)

    def _are_in_order(self, path: str, events: list[str]) -> None:
        requests = self.receiver.of(path)
        assert list(dict.fromkeys(each.id for each in requests)) == events, "first arrivals, in the log's order"
        for one, other in pairwise([each for each in requests if not self._is_stale(each)]):
            assert one.ended is not None
            assert one.ended <= other.began, "never two at once"

    async def _nothing_came_after_the_deletion(self, client: Client) -> None:
        late = [each for each in self.receiver.of(DELETED) if each.began > self.deleted_at + _NOTICED_SECONDS]
        assert late == [], [each.began - self.deleted_at for each in late]
        requests = self.receiver.of(DELETED)
        for id in {each.delivery for each in requests}:
            delivery = (await client.get(f"/deliveries/{id}")).data
            assert delivery["status"] == "cancelled"
            assert delivery["attempt_count"] >= sum(each.delivery == id for each in requests)


async def all_deliveries(client: Client, webhook_id: str) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = []
    while page := (await client.get(f"/webhooks/{webhook_id}/deliveries", limit=200, offset=len(found))).data:
        found += page
    return found
