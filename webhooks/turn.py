"""What only one process does at a time: whose turn it is stands in a lease, and the others stand by."""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import Awaitable, Callable

from executor.domain.errors import Unavailable
from executor.ports import Leases

TTL_SECONDS = 5.0
"""So long after the last sign of a process another one takes its turn."""

_DROP_SECONDS = 2.0

log = logging.getLogger(__name__)


class Turn:
    """A process's place in the queue for one kind of work. `holder` names the process.

    A lease proves nothing: whoever was paused may go on working for a moment although another has the turn. The work
    must be refused where it is written, as the fan-out's is by its checkpoint.
    """

    def __init__(self, leases: Leases, name: str, holder: str, ttl_seconds: float = TTL_SECONDS) -> None:
        self._leases = leases
        self._name, self._holder = name, holder
        self._ttl = ttl_seconds

    async def work(self, work: Callable[[], Awaitable[None]]) -> bool:
        """Waits for the turn, then works: True when the work has ended, False when another process took the turn.

        Raises what the work raises, and `Unavailable`. The turn is over then, and the next one's at once.
        """
        while not await self._leases.take(self._name, self._holder, self._ttl):
            await asyncio.sleep(self._ttl / 5)
        log.info("this process has the turn: %s", self._name)
        working = asyncio.ensure_future(work())
        try:
            return await self._keep(working)
        finally:
            working.cancel()
            await asyncio.wait([working])
            with contextlib.suppress(Unavailable, TimeoutError):
                async with asyncio.timeout(_DROP_SECONDS):
                    await self._leases.drop(self._name, self._holder)

    async def _keep(self, working: asyncio.Future[None]) -> bool:
        while True:
            done, _ = await asyncio.wait([working], timeout=self._ttl / 3)
            if done:
                working.result()
                return True
            with contextlib.suppress(Unavailable):
                if not await self._leases.take(self._name, self._holder, self._ttl):
                    log.warning("another process took the turn: %s", self._name)
                    return False
