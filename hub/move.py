"""`runcast move`: a whole hub, its log and all its ledgers, from one store to another, which takes its place."""

from __future__ import annotations

import contextlib
import sys
from collections.abc import AsyncIterator
from typing import Final

from msgspec import Struct

from executor.clock import SystemClock
from executor.domain.errors import Unavailable
from executor.ports import HELD, IMPORTING, MOVED
from hub.aggregates import AGGREGATES
from hub.backup import KEPT, copy_private
from hub.settings import Settings
from hub.wiring import database_url
from storage.codec import GENESIS, Link
from storage.copying import CARRIED, Table, follow, proved
from storage.errors import Broken, StorageError
from storage.open import OpenedStore, is_postgres, open_store, sqlite_path
from storage.projections import noted_revisions, projections
from storage.urls import shown

_HALF: Final = "a move into it was not finished"
_PAGE: Final = 200
_TOLD_EVERY: Final = 20_000


class MoveFailed(Exception):
    """The hub was not moved, and is where it was; says why."""


class Moved(Struct, frozen=True):
    """`url` shows no password."""

    url: str
    head: Link
    rows: int

    @property
    def text(self) -> str:
        return (
            f"moved {self.head.position} events and {self.rows} rows, proved; the head's hash is "
            f"{self.head.hash.hex()}\nthe hub is at {self.url} now; the one here does not start any more"
        )


async def move(settings: Settings, to: str) -> Moved:
    """Copies everything into an empty store, proves the copy, and marks this one as moved. Raises `MoveFailed`.

    One that was killed goes on when it is run again.
    """
    try:
        url = database_url(settings)
        if shown(url) == shown(to):
            raise MoveFailed(f"the hub is at {shown(to)} already")
        async with _opened(url) as source, source.copying.frozen():
            await _require_rest(source)
            async with _opened(to) as target:
                _require_whole(await source.copying.marks(), await target.copying.marks(), target.log.head)
                head = await _carry_log(source, target)
                rows = 0
                for table in CARRIED:
                    rows += await _carry_table(source, target, table)
                made = noted_revisions(projections(AGGREGATES).values(), await source.projections.notes())
                await target.projections.note(made)
                await _prove(target, head)
                _carry_keys(settings, to)
                # First this one ends, then the other begins: never both.
                moved = f"was moved to {shown(to)} at {SystemClock().now()}"
                await source.copying.mark({MOVED: moved})
                held = (await source.copying.marks()).get(HELD)
                await target.copying.mark({IMPORTING: None, HELD: held})
                return Moved(shown(to), head, rows)
    except Broken as broken:
        raise MoveFailed(f"the log is broken at {broken}; a move carries only what proves") from None
    except (StorageError, Unavailable, OSError, ValueError) as error:
        raise MoveFailed(str(error)) from None


@contextlib.asynccontextmanager
async def _opened(url: str) -> AsyncIterator[OpenedStore]:
    store = await open_store(url, AGGREGATES, clock=SystemClock())
    try:
        yield store
    finally:
        await store.close()


async def _require_rest(source: OpenedStore) -> None:
    """Only a store that several processes share can be opened here while a hub runs on it."""
    if others := await source.copying.others():
        raise MoveFailed(
            f"{others} other {'process is' if others == 1 else 'processes are'} on it: stop the hub first"
        )


def _require_whole(source: dict[str, str], target: dict[str, str], head: int) -> None:
    is_again = target.get(IMPORTING) == _HALF
    if MOVED in source and not is_again:
        raise MoveFailed(f"this hub {source[MOVED]}")
    if head == 0 and IMPORTING in target and not is_again:
        raise MoveFailed("an import into the other store was not finished; say another one")
    if head > 0 and not is_again:
        raise MoveFailed(f"the other store has {head} events already, and a move needs an empty one")
    if IMPORTING in source:
        raise MoveFailed(f"this hub is not whole: {source[IMPORTING]}")


async def _carry_log(source: OpenedStore, target: OpenedStore) -> Link:
    """The events that are not there yet, each proved. Answers the end of the log."""
    link, told = GENESIS, 0
    there = await target.log.at(target.log.head)
    while page := await source.log.scan(link.position):
        for event in page:
            link = follow(event, link)
            if there is not None and event.position == there.position and event.hash != there.hash:
                raise MoveFailed("the other store has another log's events; say an empty one")
        fresh = [event for event in page if there is None or event.position > there.position]
        await target.copying.bring(fresh, marks={IMPORTING: _HALF}, is_folded=False)
        told = _tell(link.position, told)
    return link


async def _carry_table(source: OpenedStore, target: OpenedStore, table: Table) -> int:
    """All rows of a table as they are, in place of those that an earlier try has left. Answers how many."""
    columns = await source.copying.columns(table.name)
    if columns != await target.copying.columns(table.name):
        raise StorageError(f"the stores have another shape of '{table.name}': bring both up to date first")
    if await target.copying.count(table.name):
        await target.copying.clear(table.name)
    key = [columns.index(column) for column in table.key]
    after, count = None, 0
    while rows := await source.copying.rows(table.name, table.key, after, _PAGE):
        await target.copying.put(table.name, columns, rows)
        after, count = tuple(rows[-1][index] for index in key), count + len(rows)
    if await target.copying.count(table.name) != count:
        raise StorageError(f"of '{table.name}' there are not {count} rows in the other store")
    return count


async def _prove(target: OpenedStore, head: Link) -> None:
    if await proved(target.log) != head:
        raise StorageError("the other store's log does not end as this one's")


def _carry_keys(settings: Settings, to: str) -> None:
    """Beside another file, what this data directory keeps beside its own; nothing that is there is replaced."""
    if is_postgres(to):
        return
    for name in KEPT:
        source, target = settings.data_dir / name, sqlite_path(to).parent / name
        if source.exists() and not target.exists():
            copy_private(source, target)


def _tell(position: int, told: int) -> int:
    """Progress, for who watches."""
    if position - told < _TOLD_EVERY or not sys.stderr.isatty():
        return told
    sys.stderr.write(f"\r{position} events")
    return position
