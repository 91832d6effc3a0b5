"""How this process connects: one connection that appends, and a pool for everything else."""

from __future__ import annotations

import asyncio
import secrets
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager, suppress
from typing import Any, Final

import asyncpg

from executor.domain.errors import Unavailable
from storage.errors import WrongDatabase
from storage.postgres.errors import ours
from storage.postgres.values import back, outward

Connection = Any
"""An `asyncpg.Connection`: asyncpg has no types of its own."""

_CONNECT_SECONDS: Final = 5.0
_COMMAND_SECONDS: Final = 30.0
_POOL_SIZE: Final = 16
_PROCESS: Final = f"runcast {secrets.token_hex(6)}"
"""The name of this process's connections."""
_SETTINGS: Final = {
    "application_name": _PROCESS,
    "jit": "off",
    "timezone": "UTC",
    "default_transaction_isolation": "read committed",
    # A process that is frozen in the middle of a transaction lets go of what it has locked.
    "idle_in_transaction_session_timeout": "5s",
    # Tables that were empty when a statement was planned would be read from end to end for ever after.
    "enable_seqscan": "off",
    "plan_cache_mode": "force_generic_plan",
}


async def connect(url: str) -> Connection:
    """Raises what asyncpg and the system raise, and `WrongDatabase` for a URL that asyncpg cannot read."""
    try:
        return await asyncpg.connect(
            url, timeout=_CONNECT_SECONDS, command_timeout=_COMMAND_SECONDS, server_settings=_SETTINGS
        )
    except ValueError:
        # What it says may hold a part of the password.
        raise WrongDatabase("the database's URL has a host, port or option that cannot be read") from None


class Pool:
    """Connections for reads and ledgers. What a broken one was asked for raises `Unavailable`; the next has a new
    connection."""

    def __init__(self, url: str) -> None:
        self._url = url
        self._pool: Any = None
        self._opening = asyncio.Lock()
        self._closed = False

    async def rows(self, sql: str, *params: Any) -> list[tuple[Any, ...]]:
        async with self.connection() as connection:
            return back(await connection.fetch(sql, *map(outward, params)))

    async def row(self, sql: str, *params: Any) -> tuple[Any, ...] | None:
        found = await self.rows(sql, *params)
        return found[0] if found else None

    async def value(self, sql: str, *params: Any) -> Any:
        found = await self.row(sql, *params)
        return found[0] if found is not None else None

    async def execute(self, sql: str, *params: Any) -> int:
        """How many rows a statement changed."""
        async with self.connection() as connection:
            return changed(await connection.execute(sql, *map(outward, params)))

    @asynccontextmanager
    async def connection(self) -> AsyncIterator[Any]:
        """A connection to itself, without a transaction."""
        with ours():
            pool = await self._opened()
            connection = await pool.acquire(timeout=_CONNECT_SECONDS)
            try:
                yield connection
            except asyncio.CancelledError:
                # To ask the server to stop would wait for its answer, and what came of that waiting would take the
                # place of the cancellation.
                with suppress(asyncpg.InterfaceError):
                    connection.terminate()
                raise
            finally:
                await asyncio.shield(asyncio.ensure_future(_given_back(pool, connection)))

    @asynccontextmanager
    async def transaction(self) -> AsyncIterator[Any]:
        """Rolled back where the body raises. One that is cancelled ends with its connection."""
        async with self.connection() as connection:
            transaction = connection.transaction()
            await transaction.start()
            try:
                yield connection
            except Exception:
                await transaction.rollback()
                raise
            await transaction.commit()

    async def others(self) -> int:
        """How many other processes of ours are connected to the database."""
        sql = (
            "SELECT count(DISTINCT application_name) FROM pg_stat_activity WHERE datname = current_database() "
            "AND application_name LIKE 'runcast %' AND application_name <> $1"
        )
        return int(await self.value(sql, _PROCESS))

    async def close(self) -> None:
        """May be called twice. What is being read ends first, within some seconds."""
        self._closed = True
        if self._pool is not None:
            pool, self._pool = self._pool, None
            try:
                async with asyncio.timeout(_CONNECT_SECONDS):
                    await pool.close()
            except (TimeoutError, OSError, asyncpg.PostgresError, asyncpg.InterfaceError):
                pool.terminate()

    async def _opened(self) -> Any:
        if self._closed:
            raise Unavailable("the database is closed")
        if self._pool is None:
            async with self._opening:
                if self._pool is None:
                    self._pool = await asyncpg.create_pool(
                        self._url,
                        min_size=0,
                        max_size=_POOL_SIZE,
                        max_inactive_connection_lifetime=60,
                        timeout=_CONNECT_SECONDS,
                        command_timeout=_COMMAND_SECONDS,
                        server_settings=_SETTINGS,
                    )
        return self._pool


async def _given_back(pool: Any, connection: Connection) -> None:
    """What was done with it is done, whatever becomes of the connection afterwards."""
    with suppress(OSError, TimeoutError, asyncpg.PostgresError, asyncpg.InterfaceError):
        await pool.release(connection)


def changed(status: str) -> int:
    """The number at the end of a statement's status, such as `UPDATE 3`."""
    return int(status.rpartition(" ")[2])


def numbered(sql: str) -> str:
    """`?` as `$1`, `$2`, …: for texts of ours, in which it stands for nothing else."""
    first, *rest = sql.split("?")
    return first + "".join(f"${number}{part}" for number, part in enumerate(rest, 1))


def arrays(types: Sequence[str]) -> str:
    """The parameters of an `unnest`: `$1::text[], $2::bigint[]`."""
    return ", ".join(f"${number}::{type}[]" for number, type in enumerate(types, 1))
