"""Whether a store may be worked on. A hub that was imported or restored is held until somebody takes it over, since
two hubs must not run the same world; one that is half imported, or was moved away, does not start at all."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from typing import Any, Final, Protocol

import structlog

from executor.ports import HELD, IMPORTING, MOVED, Copying
from storage.errors import StorageError

_LOOK_SECONDS: Final = 0.5
_logger = structlog.get_logger(__name__)

Run = Callable[[], Coroutine[Any, Any, None]]


class Marked(Protocol):
    """A store, as far as its marks go."""

    @property
    def copying(self) -> Copying: ...


async def require_ours(store: Marked, *, takes_over: bool) -> None:
    """Raises `StorageError` where nobody may work on the store; with `takes_over` it is ours from now on."""
    if takes_over:
        await take_over(store)
    elif MOVED in (marks := await require_whole(store)):
        raise StorageError(f"this hub {marks[MOVED]}; to run it here all the same: runcast take-over")


async def take_over(store: Marked) -> bool:
    """Lets a held store be worked on, for good; False where nothing held it. Raises `StorageError` where it is not
    whole."""
    marks = await require_whole(store)
    if HELD not in marks and MOVED not in marks:
        return False
    await store.copying.mark({HELD: None, MOVED: None})
    _logger.info("hub.taken_over", was=marks.get(HELD, marks.get(MOVED)))
    return True


async def require_whole(store: Marked) -> dict[str, str]:
    """The marks of a store that is not half of one."""
    marks = await store.copying.marks()
    if IMPORTING in marks:
        raise StorageError(f"{marks[IMPORTING]}: run it again, and it goes on; or begin anew in an empty place")
    return marks


async def why_held(store: Marked) -> str | None:
    """Since when runs, deliveries and schedules wait, and why; null where they do not."""
    marks = await store.copying.marks()
    return marks.get(HELD)


def once_ours(store: Marked, run: Run) -> Run:
    """A part of the hub that changes the world: it begins when nobody holds the store, or no longer."""

    async def begin() -> None:
        while await why_held(store) is not None:
            await asyncio.sleep(_LOOK_SECONDS)
        await run()

    return begin
