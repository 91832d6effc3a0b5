"""What the processes of one log tell each other over Redis: the log moved, a shard has deliveries.

Hints only hasten. They may be lost, and Redis may be away: whoever waits also looks by itself, every second.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable
from typing import Annotated, Final

import msgspec
import structlog
from msgspec import Meta, Struct
from redis.asyncio import Redis
from redis.asyncio.client import PubSub
from redis.exceptions import RedisError

from webhooks.endpoint import SHARDS

_REDIS_SECONDS: Final = 3.0
_ECHO_SECONDS: Final = 5.0
"""Something is said at least so often; who does not hear even himself for `_SILENCE_SECONDS` has lost the line."""
_SILENCE_SECONDS: Final = 15.0
_BACKOFF_SECONDS: Final = (0.1, 5.0)
_CANCEL_SECONDS: Final = 0.2
_logger = structlog.get_logger(__name__)


class Hint(Struct, frozen=True):
    """`head` is a position that the log has come to; `shards` those of webhooks where there is something to do."""

    sender: str
    head: Annotated[int, Meta(ge=0, le=2**62)]
    shards: tuple[Annotated[int, Meta(ge=0, lt=SHARDS)], ...] = ()


class Hints:
    """Tells what it is told by `moved` and `ring`, and hears what others tell. News that come while one message is
    under way make up the next."""

    def __init__(
        self, redis_url: str, epoch: str, sender: str, *, noticed: Callable[[int], None], rung: Callable[[int], None]
    ) -> None:
        """`epoch` names the log, `sender` this process; `noticed` is called with a position, `rung` with a shard."""
        self._redis_url = redis_url
        self._channel = f"runcast:{epoch}:hints"
        self._sender = sender
        self._noticed, self._rung = noticed, rung
        self._head = 0
        self._shards: set[int] = set()
        self._news = asyncio.Event()
        self.is_connected = False

    def moved(self, position: int) -> None:
        """This process brought the log to a position."""
        self._head = max(self._head, position)
        self._news.set()

    def ring(self, shard: int) -> None:
        self._shards.add(shard)
        self._news.set()

    async def run(self) -> None:
        """Until it is cancelled. Redis may come and go: the first failure is logged, and the return."""
        shortest, longest = _BACKOFF_SECONDS
        backoff, is_first = shortest, True
        while True:
            try:
                await self._talk()
            except (RedisError, OSError, TimeoutError) as error:
                if self.is_connected or is_first:
                    _logger.warning("hints.away", error=str(error), meanwhile="this process looks every second")
                backoff = shortest if self.is_connected else min(backoff * 2, longest)
            is_first = self.is_connected = False
            await asyncio.sleep(backoff)

    async def _talk(self) -> None:
        """One life of a connection. Raises what ended it."""
        redis = Redis.from_url(self._redis_url, socket_timeout=_REDIS_SECONDS, socket_connect_timeout=_REDIS_SECONDS)
        heard = redis.pubsub()
        self._news.set()
        tasks = {asyncio.create_task(self._listen(heard)), asyncio.create_task(self._tell(redis))}
        try:
            done, _ = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
            for task in done:
                task.result()
        finally:
            await _ended(tasks)
            with contextlib.suppress(RedisError, OSError, TimeoutError):
                await heard.aclose()
                await redis.aclose()

    async def _listen(self, heard: PubSub) -> None:
        await heard.subscribe(self._channel)
        while True:
            message = await heard.get_message(timeout=_SILENCE_SECONDS)
            if message is None:
                raise TimeoutError("nothing is heard any more")
            if message["type"] == "message":
                self._hear(message["data"])
            elif not self.is_connected:
                self.is_connected = True
                _logger.info("hints.connected")

    def _hear(self, data: bytes) -> None:
        try:
            hint = msgspec.json.decode(data, type=Hint)
        except (msgspec.DecodeError, UnicodeDecodeError):
            _logger.debug("hints.unreadable")
            return
        if hint.sender == self._sender:
            return
        self._noticed(hint.head)
        for shard in hint.shards:
            self._rung(shard)

    async def _tell(self, redis: Redis) -> None:
        while True:
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(_ECHO_SECONDS):
                    await self._news.wait()
            self._news.clear()
            shards, self._shards = self._shards, set()
            hint = Hint(self._sender, self._head, tuple(sorted(shards)))
            await redis.publish(self._channel, msgspec.json.encode(hint))


async def _ended(tasks: set[asyncio.Task[None]]) -> None:
    """Cancels until it holds: the Redis client swallows a cancellation where a connection breaks at that moment."""
    pending = set(tasks)
    while pending:
        for task in pending:
            task.cancel()
        _, pending = await asyncio.wait(pending, timeout=_CANCEL_SECONDS)
    await asyncio.gather(*tasks, return_exceptions=True)
