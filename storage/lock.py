"""The lock file beside the data: one process at a time opens it for writing, and says where it can be reached."""

from __future__ import annotations

import fcntl
import os
from pathlib import Path

import msgspec

from storage.errors import Locked


class Holder(msgspec.Struct, frozen=True):
    """What a lock file says of who holds it."""

    pid: int | None = None
    address: str | None = None


class FileLock:
    """Held from `FileLock(path)` to `release()`, or to the end of the process however it comes.

    The file itself stays: to unlink it would let two processes hold two files of one name.
    """

    def __init__(self, path: Path) -> None:
        """Raises `Locked`."""
        self.path = path
        self._file = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(self._file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            os.close(self._file)
            found = holder(path)
            raise Locked(str(path), found.pid, found.address) from None
        self._write(Holder(os.getpid()))

    def set_address(self, address: str) -> None:
        """Says where the holder listens, such as `http://127.0.0.1:8000`."""
        self._write(Holder(os.getpid(), address))

    def release(self) -> None:
        """May be called twice."""
        if self._file >= 0:
            os.ftruncate(self._file, 0)
            os.close(self._file)
            self._file = -1

    def _write(self, content: Holder) -> None:
        data = msgspec.json.encode(content)
        os.pwrite(self._file, data, 0)
        os.ftruncate(self._file, len(data))


def holder(path: Path) -> Holder:
    """What the lock file says; empty where there is none or it is unreadable. It may be of a process long dead."""
    try:
        return msgspec.json.decode(path.read_bytes(), type=Holder)
    except (OSError, msgspec.DecodeError):
        return Holder()
