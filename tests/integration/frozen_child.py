"""A process that appends one event, and freezes itself while its batch holds the end of the log.

    python tests/integration/frozen_child.py URL

Prints `holds` before it freezes, and the position of its event once it has been woken and is done.
"""

from __future__ import annotations

import asyncio
import os
import signal
import sys
from collections.abc import Sequence
from typing import Any

from executor.clock import SystemClock
from storage.open import open_store
from storage.plan import Prepared
from storage.postgres.batch import Appender, Batch
from storage.postgres.store import PostgresStore
from tests.contract.notes import AGGREGATES, CODEC, Author


async def main(url: str) -> None:
    clock, write = SystemClock(), Appender.write
    store = await open_store(url, AGGREGATES, clock=clock, codec=CODEC)
    assert isinstance(store, PostgresStore)

    async def write_and_freeze(self: Appender, connection: Any, appends: Sequence[Prepared]) -> Batch:
        written = await write(self, connection, appends)
        Appender.write = write  # type: ignore[method-assign]
        os.write(1, b"holds\n")
        os.kill(os.getpid(), signal.SIGSTOP)
        return written

    Appender.write = write_and_freeze  # type: ignore[method-assign]
    done = await Author(store.log, clock).write("frozen", "x")  # type: ignore[arg-type]
    os.write(1, b"%d\n" % done.recorded[0].position)
    await store.close()


asyncio.run(main(sys.argv[1]))
