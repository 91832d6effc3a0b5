"""Where the sockets of an embedded hub lie: in its data directory, or where that path is too long for one."""

from __future__ import annotations

import contextlib
import hashlib
import os
import tempfile
from pathlib import Path

_LONGEST_SOCKET_PATH = 100
"""sockaddr_un has 108 bytes on Linux and 104 on macOS, with the closing zero."""


def socket_path(data_dir: Path, name: str) -> Path:
    """The same for every process that asks."""
    directory = data_dir.resolve()
    path = directory / name
    return path if len(os.fsencode(path)) <= _LONGEST_SOCKET_PATH else _short_directory(directory) / name


def clear(path: Path, data_dir: Path) -> None:
    """Takes a socket away, and the directory that was made for it when nothing is left there."""
    path.unlink(missing_ok=True)
    if path.parent != data_dir.resolve():
        with contextlib.suppress(OSError):
            path.parent.rmdir()


def _short_directory(data_dir: Path) -> Path:
    """A directory of ours with a short path, always the same for a data directory; a fresh one where another user
    holds that name."""
    name = hashlib.sha256(os.fsencode(data_dir)).hexdigest()[:16]
    path = Path(tempfile.gettempdir()) / f"runcast-{os.geteuid()}-{name}"
    with contextlib.suppress(FileExistsError):
        path.mkdir(mode=0o700)
    status = path.lstat()
    is_private = path.is_dir() and not path.is_symlink() and status.st_mode & 0o077 == 0
    if is_private and status.st_uid == os.geteuid():
        return path
    return Path(tempfile.mkdtemp(prefix="runcast-"))
