from __future__ import annotations

import asyncio
import time

from hub.loop_lag import LoopLag


async def test_who_holds_the_loop_is_seen() -> None:
    lag = LoopLag(every_seconds=0.01)
    measuring = asyncio.create_task(lag.run())
    await asyncio.sleep(0)
    time.sleep(0.06)  # noqa: ASYNC251
    while not lag.longest:
        await asyncio.sleep(0)
    measuring.cancel()
    await asyncio.gather(measuring, return_exceptions=True)
    assert 0.05 <= lag.longest < 5
    assert lag.histogram.sum >= 0.05
    assert sum(
        count for bound, count in zip(lag.histogram.bounds, lag.histogram.counts, strict=False) if bound > 0.05
    )


def test_nothing_was_late_before_anything_was_measured() -> None:
    assert LoopLag().longest == 0
