"""What can be wrong with a store beyond the refusals of `executor.domain.errors`: mistakes of operators or code.

`Conflict`, `NameTaken` and `Unavailable` are the ports'; these are for the composition root and the command.
"""

from __future__ import annotations


class StorageError(Exception):
    """Any of the below."""


class Locked(StorageError):
    """Another process holds the data for writing. `pid` and `address` are what it says of itself, where it does."""

    def __init__(self, path: str, pid: int | None, address: str | None) -> None:
        holder = f"process {pid}" if pid is not None else "another process"
        where = f", which listens on {address}" if address else ""
        super().__init__(f"'{path}' is in use by {holder}{where}")
        self.path, self.pid, self.address = path, pid, address


class WrongDatabase(StorageError):
    """The URL or the file is not one that this version can open."""


class UnknownEvent(StorageError):
    """An event that the catalogue does not have, or data of it that cannot be read."""


class UnknownStream(StorageError):
    """No aggregate is registered for the stream's prefix."""

    def __init__(self, stream: str) -> None:
        super().__init__(f"no aggregate is registered for the stream {stream!r}; a stream is named prefix:id")
        self.stream = stream


class RepeatedInPart(StorageError):
    """Some ids of an append are in the log and others are not, or they are in another stream: not the same append."""

    def __init__(self, ids: tuple[str, ...]) -> None:
        super().__init__(f"the ids {', '.join(ids)} are in the log, but not as this append has them")
        self.ids = ids


class Unstorable(StorageError):
    """The database refuses the values of a write: a column's type, a constraint, a number out of range."""


class Broken(StorageError):
    """The log is not what was written. `position` is the first that is wrong."""

    def __init__(self, position: int, reason: str) -> None:
        super().__init__(f"position {position}: {reason}")
        self.position, self.reason = position, reason
