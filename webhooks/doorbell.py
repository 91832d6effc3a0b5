"""How the fan-out wakes the pumps of its process: a bell for each shard. A hint: a pump that missed it is late."""

from __future__ import annotations

import asyncio

from webhooks.endpoint import SHARDS


class Doorbell:
    """Listen first, look what is there, then wait: what rang in between is not missed."""

    def __init__(self) -> None:
        self._bells = [asyncio.Event() for _ in range(SHARDS)]

    def listen(self, shard: int) -> asyncio.Event:
        """Is set at the next ring, for everybody who listens."""
        return self._bells[shard]

    def ring(self, shard: int) -> None:
        rung, self._bells[shard] = self._bells[shard], asyncio.Event()
        rung.set()
