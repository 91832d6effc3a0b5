"""What names resolve to: one look-up of a name at a time, and none that holds up those of others."""

from __future__ import annotations

import asyncio
import contextlib
import socket
import threading
import time
from asyncio import Future, Semaphore, Task
from collections import OrderedDict
from collections.abc import Callable
from enum import Enum, auto
from typing import Any, Final, Protocol, TypedDict

KEPT_SECONDS: Final = 5.0
MOST_UNDER_WAY: Final = 10_000
PROMPT_SECONDS: Final = 1.0
MOST_HANGING: Final = 1024
"""Threads cost some 20 KiB each, and only for as long as names hang."""
_MOST_KEPT = 4096
_MOST_KNOWN = 16_384
_FLAGS = socket.AI_NUMERICHOST | socket.AI_NUMERICSERV


class Resolved(TypedDict):
    """One address of a name."""

    hostname: str
    host: str
    port: int
    family: int
    proto: int
    flags: int


class Resolver(Protocol):
    """What answers for names. aiohttp's resolvers are like that too. Raises OSError where there is nothing."""

    async def resolve(
        self, host: str, port: int = 0, family: socket.AddressFamily = socket.AF_UNSPEC
    ) -> list[Resolved]: ...

    async def close(self) -> None: ...


Found = list[Resolved]
GetAddrInfo = Callable[[str, socket.AddressFamily], list[Any]]


class Lookups:
    """Joins look-ups of one name, and keeps what was found for `KEPT_SECONDS`; what was not found is not kept.

    That lets nothing past the guard: what is kept are addresses, each of them is judged whenever it is taken out, and
    again when a socket is made for it. No name is looked up between the judgement and the connection.
    """

    def __init__(self, inner: Resolver) -> None:
        self._inner = inner
        self._kept: OrderedDict[str, tuple[float, Found]] = OrderedDict()
        self._under_way: dict[str, Task[Found]] = {}

    async def resolve(
        self, host: str, port: int = 0, family: socket.AddressFamily = socket.AF_UNSPEC
    ) -> list[Resolved]:
        until, found = self._kept.get(host, (0.0, []))
        if until < time.monotonic():
            found = await self.afresh(host)
            self._keep(host, found)
        return [Resolved({**each, "port": port}) for each in found]

    async def afresh(self, host: str) -> Found:
        """What it resolves to now, whatever is kept; it is not kept either. Who is cancelled does not end the look-up
        for others."""
        task = self._under_way.get(host)
        if task is None:
            if len(self._under_way) >= MOST_UNDER_WAY:
                raise OSError("too many names are being looked up")
            task = self._under_way[host] = asyncio.create_task(self._inner.resolve(host, 0, socket.AF_UNSPEC))
            task.add_done_callback(lambda ended: self._ended(host, ended))
        return await asyncio.shield(task)

    async def close(self) -> None:
        tasks = list(self._under_way.values())
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        await self._inner.close()

    def _keep(self, host: str, found: Found) -> None:
        self._kept[host] = time.monotonic() + KEPT_SECONDS, found
        self._kept.move_to_end(host)
        if len(self._kept) > _MOST_KEPT:
            self._kept.popitem(last=False)

    def _ended(self, host: str, task: Task[Found]) -> None:
        del self._under_way[host]
        if not task.cancelled():
            task.exception()  # Seen, though everybody who waited may be gone.


class Pace(Enum):
    """How soon a name's servers answered the last time."""

    NEW = auto()
    PROMPT = auto()
    SLOW = auto()


class ThreadResolver:
    """getaddrinfo, on threads of its own.

    Nothing can call a thread back from a look-up that hangs, which it does for 10 seconds and more. So names queue by
    their pace: those that were slow among themselves, the others in lanes where a look-up that takes longer than
    `patience` seconds gives its place to the next and hangs on beside the lane.
    """

    def __init__(self, look_up: GetAddrInfo | None = None, *, patience: float = PROMPT_SECONDS) -> None:
        self._look_up = look_up or _getaddrinfo
        self._patience = patience
        self._paces: OrderedDict[str, Pace] = OrderedDict()
        self._lanes = {pace: Semaphore(64) for pace in Pace}
        self.hanging = 0
        """Look-ups beside the lanes."""

    async def resolve(
        self, host: str, port: int = 0, family: socket.AddressFamily = socket.AF_UNSPEC
    ) -> list[Resolved]:
        pace = self._paces.get(host, Pace.NEW)
        lane = self._lanes[pace]
        await lane.acquire()
        is_beside = False
        try:
            looking = self._started(host, family)
            is_prompt = bool((await asyncio.wait({looking}, timeout=self._patience))[0])
            if not is_prompt:
                self._note(host, Pace.SLOW)
                is_beside = pace is not Pace.SLOW and self.hanging < MOST_HANGING
            if is_beside:
                self.hanging += 1
                lane.release()
            found = await looking
        finally:
            if is_beside:
                self.hanging -= 1
            else:
                lane.release()
        if is_prompt:
            self._note(host, Pace.PROMPT)
        return [
            Resolved(hostname=host, host=str(at[0]), port=port, family=kind, proto=protocol, flags=_FLAGS)
            for kind, _, protocol, _, at in found
        ]

    async def close(self) -> None:
        """Threads that hang end by themselves; they keep no process alive."""

    def _note(self, host: str, pace: Pace) -> None:
        self._paces[host] = pace
        self._paces.move_to_end(host)
        if len(self._paces) > _MOST_KNOWN:
            self._paces.popitem(last=False)

    def _started(self, host: str, family: socket.AddressFamily) -> Future[list[Any]]:
        loop = asyncio.get_running_loop()
        looking: Future[list[Any]] = loop.create_future()

        def settle(found: list[Any], error: BaseException | None) -> None:
            if looking.done():
                return
            if error is None:
                looking.set_result(found)
            else:
                looking.set_exception(error)

        def run() -> None:
            found, failed = [], None
            try:
                found = self._look_up(host, family)
            except Exception as error:
                failed = error
            with contextlib.suppress(RuntimeError):  # The loop may be closed by now.
                loop.call_soon_threadsafe(settle, found, failed)

        try:
            threading.Thread(target=run, name="egress-dns", daemon=True).start()
        except RuntimeError:
            raise OSError("there is no thread left to look a name up") from None
        return looking


def _getaddrinfo(host: str, family: socket.AddressFamily) -> list[Any]:
    return socket.getaddrinfo(host, None, family, socket.SOCK_STREAM, 0, socket.AI_ADDRCONFIG)
