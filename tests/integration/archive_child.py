"""Archives everything that ended, and is killed at a moment: run by `test_retention.py` as a process of its own.

`written`: the file is on disk, and nothing is blanked yet. `half`: the first of two transactions is done.
"""

from __future__ import annotations

import asyncio
import os
import signal
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import hub.retention
from executor.clock import SystemClock
from executor.ports import Archived
from hub.retention import Archivist
from hub.settings import Settings
from hub.wiring import opened_store


async def main(data_dir: Path, moment: str) -> None:
    hub.retention._BATCH = 1  # type: ignore[misc]
    # Whoever comes after the kill waits for the lease that it leaves.
    hub.retention._LEASE_SECONDS, hub.retention._RENEW_SECONDS = 1.0, 0.2  # type: ignore[misc]
    clock = SystemClock()
    async with opened_store(Settings(data_dir=data_dir), clock) as (store, _):
        ledger: Any = store.ledgers.retention
        blank, done = ledger.blank, 0

        async def until_the_moment(archived: Sequence[Archived]) -> list[str]:
            nonlocal done
            if moment == "written" or done:
                os.kill(os.getpid(), signal.SIGKILL)
            done += 1
            blanked: list[str] = await blank(archived)
            return blanked

        ledger.blank = until_the_moment
        await Archivist(store, clock, data_dir / "archive").run(clock.now())


if __name__ == "__main__":
    asyncio.run(main(Path(sys.argv[1]), sys.argv[2]))
