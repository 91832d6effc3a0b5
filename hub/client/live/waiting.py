"""Until an execution has ended: by its channel where a socket can be had, by asking where none can."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Awaitable, Callable
from typing import Final

from hub.client.errors import ClientError, CompletionTimeout
from hub.client.live.subscription import Subscription
from hub.client.types import ENDED, Execution

ASKING_SECONDS: Final = (0.25, 5.0)
"""The first pause between two questions where nothing is heard, and the longest."""
SURE_SECONDS: Final = 30.0
"""How often it is asked all the same while the channel is there."""

Get = Callable[[], Awaitable[Execution]]


async def ended(get: Get, channel: Subscription, execution_id: str, seconds: float | None) -> Execution:
    """The execution, once it has ended. The channel is to be one of its `execution.*`, from the head on. Raises
    `CompletionTimeout`, and what `get` raises."""
    waiting = _Waiting(get, channel)
    try:
        async with asyncio.timeout(seconds):
            return await waiting.ended()
    except TimeoutError:
        assert seconds is not None
        raise CompletionTimeout(execution_id, seconds, waiting.status) from None


class _Waiting:
    def __init__(self, get: Get, channel: Subscription) -> None:
        self._get, self._channel = get, channel
        self.status: str | None = None
        self._has_channel = False
        self._news = asyncio.Event()

    async def ended(self) -> Execution:
        """Whatever is heard leads to a look: of what happened before the channel was granted the first look tells."""
        listening = asyncio.create_task(self._listen())
        pause, longest = ASKING_SECONDS
        try:
            while True:
                self._news.clear()
                found = await self._get()
                self.status = found.status
                if found.has_ended:
                    return found
                with contextlib.suppress(TimeoutError):
                    async with asyncio.timeout(SURE_SECONDS if self._has_channel else pause):
                        await self._news.wait()
                pause = min(pause * 2, longest)
        finally:
            listening.cancel()
            await asyncio.gather(listening, return_exceptions=True)
            self._channel.close()

    async def _listen(self) -> None:
        """Where the channel is refused, or there is no socket, the looks are all there is."""
        with contextlib.suppress(ClientError):
            async with self._channel:
                self._has_channel = True
                self._news.set()
                async for message in self._channel:
                    if message.is_gap or message.data.get("status") in ENDED:
                        self._news.set()
        self._has_channel = False
