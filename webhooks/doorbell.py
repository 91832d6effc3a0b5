"""How the fan-out wakes the pumps: a bell for each shard. A hint: a pump that missed it is late."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from webhooks.endpoint import SHARDS


class Doorbell:
    """Listen first, look what is there, then wait: what rang in between is not missed.

    `forward` is told of each ring, so that the bells of other processes ring too, by `hear`.
    """

    def __init__(self, forward: Callable[[int], None] | None = None) -> None:
        self.forward = forward
        self._bells = [asyncio.Event() for _ in range(SHARDS)]

    def listen(self, shard: int) -> asyncio.Event:
        """Is set at the next ring, for everybody who listens."""
        return self._bells[shard]

    def ring(self, shard: int) -> None:
        self.hear(shard)
        if self.forward is not None:
            self.forward(shard)

    def hear(self, shard: int) -> None:
        """A ring from elsewhere."""
        rung, self._bells[shard] = self._bells[shard], asyncio.Event()
        rung.set()
