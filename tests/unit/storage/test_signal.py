from __future__ import annotations

import asyncio

from storage.signal import Signal

FOREVER = 3600.0


async def test_what_is_known_is_not_waited_for() -> None:
    signal = Signal()
    signal.notify(5)
    await signal.wait(4, FOREVER)


async def test_all_who_wait_are_woken_once_the_log_moves() -> None:
    signal = Signal()
    waiting = [asyncio.ensure_future(signal.wait(5, FOREVER)) for _ in range(3)]
    signal.notify(5)
    await asyncio.sleep(0)
    assert not any(one.done() for one in waiting)
    signal.notify(6)
    await asyncio.gather(*waiting)
    later = asyncio.ensure_future(signal.wait(6, FOREVER))
    signal.notify(6)
    signal.notify(3)
    await asyncio.sleep(0)
    assert not later.done()
    signal.close()
    await later


async def test_what_was_taken_back_is_waited_for() -> None:
    signal = Signal()
    signal.notify(9)
    signal.take_back(5)
    waiting = asyncio.ensure_future(signal.wait(5, FOREVER))
    await asyncio.sleep(0)
    assert not waiting.done()
    signal.notify(6)
    await waiting


async def test_waiting_ends_after_its_time() -> None:
    await Signal().wait(0, 0.0)


async def test_a_closed_signal_is_not_waited_for() -> None:
    signal = Signal()
    signal.close()
    await signal.wait(0, FOREVER)


async def test_a_waiter_that_is_cancelled_is_forgotten() -> None:
    signal = Signal()
    waiting = asyncio.ensure_future(signal.wait(0, FOREVER))
    await asyncio.sleep(0)
    waiting.cancel()
    await asyncio.gather(waiting, return_exceptions=True)
    assert waiting.cancelled()
    signal.notify(1)
