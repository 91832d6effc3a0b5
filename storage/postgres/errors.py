"""asyncpg's errors become ours, here and only here."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final

import asyncpg
from asyncpg import exceptions

from executor.domain.errors import Unavailable
from storage.errors import Unstorable

_LOST: Final = (
    exceptions.PostgresConnectionError,
    exceptions.InterfaceError,
    exceptions.InternalClientError,
    exceptions.AdminShutdownError,
    exceptions.CrashShutdownError,
    exceptions.CannotConnectNowError,
    exceptions.IdleInTransactionSessionTimeoutError,
    TimeoutError,
    OSError,
)
"""The connection has gone, or cannot be had: another one may do."""

_BUSY: Final[dict[type[Exception], str]] = {
    exceptions.LockNotAvailableError: "the log is held by another process that does not go on",
    exceptions.DeadlockDetectedError: "the database found a deadlock",
    exceptions.SerializationError: "the database could not serialize",
    exceptions.QueryCanceledError: "the database cancelled the query",
    exceptions.DiskFullError: "the database's disk is full",
    exceptions.OutOfMemoryError: "the database has no memory left",
    exceptions.TooManyConnectionsError: "the database has no connection left",
    exceptions.InsufficientResourcesError: "the database lacks resources",
    exceptions.ReadOnlySQLTransactionError: "the database cannot be written",
    exceptions.PostgresSystemError: "the database's disk does not answer as it should",
    exceptions.InvalidAuthorizationSpecificationError: "the database does not let us in",
    exceptions.InvalidCatalogNameError: "the database does not exist",
}


def is_lost(error: BaseException) -> bool:
    """The connection is to blame: whether the last statement happened is not known."""
    if isinstance(error, exceptions.DataError | ValueError):
        return False
    return isinstance(error, _LOST)


def is_unavailable(error: BaseException) -> bool:
    """The database's state is to blame, not the data of a statement."""
    return is_lost(error) or isinstance(error, (Unavailable, *_BUSY))


def translate(error: Exception) -> Exception:
    """The error to raise in place of a driver's: `Unavailable`, or `Unstorable` where the data is to blame."""
    for kind, message in _BUSY.items():
        if isinstance(error, kind):
            return Unavailable(message)
    if is_lost(error):
        return Unavailable("the database does not answer")
    if isinstance(error, asyncpg.PostgresError | exceptions.DataError | OverflowError | UnicodeError):
        return Unstorable(str(error))
    return error


@contextmanager
def ours() -> Iterator[None]:
    """Around statements: what the driver raises comes out as ours."""
    try:
        yield
    except Exception as error:
        raised = translate(error)
        if raised is error:
            raise
        raise raised from error
