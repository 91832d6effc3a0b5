"""An executor as a process of its own, on a store that it shares with others.

    python tests/integration/engine_child.py URL ID TTL_SECONDS

Prints `runs` once it takes runs; drains and ends at SIGTERM.
"""

from __future__ import annotations

import asyncio
import os
import signal
import sys

from executor.domain.errors import Unavailable
from tests.integration.engines import staged_on


async def main(url: str, id: str, ttl_seconds: float) -> None:
    async with staged_on(url) as stage:
        engine = stage.engine(id, ttl_seconds=ttl_seconds, grace_seconds=8)
        task = asyncio.create_task(engine.run())
        asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, task.cancel)
        os.write(1, b"runs\n")
        await asyncio.wait([task])
        if not task.cancelled():
            raise task.exception() or Unavailable("the engine ended by itself")


asyncio.run(main(sys.argv[1], sys.argv[2], float(sys.argv[3])))
