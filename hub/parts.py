"""The parts of a process that run beside its requests: kept going while it lives, ended once."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Coroutine, Iterable, Mapping
from types import TracebackType
from typing import Any, Final

import structlog

from executor.domain.errors import Unavailable

Run = Callable[[], Coroutine[Any, Any, None]]
"""Runs until it is cancelled; may then take some seconds to end in good order."""

_RESTART_SECONDS: Final = 1.0
_WHOLE_AGAIN_SECONDS: Final = 5.0
_END_SECONDS: Final = 12.0
_CUT_SECONDS: Final = 2.0
_logger = structlog.get_logger(__name__)


class Parts:
    """They run while the context is open, and end together."""

    def __init__(self, parts: Mapping[str, Run]) -> None:
        self._parts = parts
        self._tasks: dict[str, asyncio.Task[None]] = {}
        self._ended: set[str] = set()

    async def __aenter__(self) -> Parts:
        for name, run in self._parts.items():
            self._tasks[name] = asyncio.create_task(_kept(name, run), name=name)
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Whoever does not come to a good end within some seconds is cut short."""
        pending = set(self._tasks.values())
        for seconds in (_END_SECONDS, _CUT_SECONDS):
            self.end(self._tasks)
            if pending:
                _, pending = await asyncio.wait(pending, timeout=seconds)
            self._ended.clear()
        if pending:
            _logger.error("parts.left", parts=sorted(task.get_name() for task in pending))

    def end(self, names: Iterable[str]) -> None:
        """Lets some of them begin to end. Each is told once: a second word would cut its good order short."""
        for name in names:
            if name in self._tasks and name not in self._ended:
                self._ended.add(name)
                self._tasks[name].cancel()


async def _kept(name: str, run: Run) -> None:
    """Runs a part again when it breaks. That the store is away is no fault of it, and said once."""
    is_waiting = False
    while True:
        since = time.monotonic()
        try:
            await run()
            return
        except Exception as error:
            if time.monotonic() - since > _WHOLE_AGAIN_SECONDS:
                is_waiting = False
            if not _is_unavailable(error):
                _logger.exception("part.broke", part=name)
            elif not is_waiting:
                _logger.warning("part.waits", part=name, error=str(error))
                is_waiting = True
            await asyncio.sleep(_RESTART_SECONDS)


def _is_unavailable(error: Exception) -> bool:
    if isinstance(error, ExceptionGroup):
        return all(_is_unavailable(inner) for inner in error.exceptions)
    return isinstance(error, Unavailable)
