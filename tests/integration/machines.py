"""A hub on several machines, as far as one machine can show it: PostgreSQL, Valkey, and a process for each role."""

from __future__ import annotations

import asyncio
import contextlib
import signal
from collections.abc import AsyncIterator
from pathlib import Path

from hub.valkey import EmbeddedValkey
from tests.integration.hubs import COMMAND, end, environment
from tests.postgres import PostgresServer

KEY = "sk_test_" + "M" * 32
_START_SECONDS = 60


class Machine:
    """A process with one role. `url` is empty where it does not listen."""

    def __init__(self, role: str, process: asyncio.subprocess.Process, url: str, log: Path) -> None:
        self.role, self.process, self.url, self._log = role, process, url, log

    @property
    def log(self) -> str:
        """What it wrote to standard error so far."""
        return self._log.read_text()

    async def kill(self) -> None:
        """As a power cut would."""
        self.process.kill()
        await self.process.wait()

    async def stop(self, seconds: float = 20) -> int:
        """Its exit code after SIGTERM."""
        self.process.send_signal(signal.SIGTERM)
        async with asyncio.timeout(seconds):
            return await self.process.wait()


class Machines:
    """All processes of one hub, and what they share."""

    def __init__(self, directory: Path, database_url: str, valkey: EmbeddedValkey, settings: dict[str, str]) -> None:
        self.database_url, self.valkey = database_url, valkey
        self._directory = directory
        self._settings = settings
        self._started: list[Machine] = []
        self._count = 0

    @property
    def settings(self) -> dict[str, str]:
        """Environment of every process, without `RUNCAST_`."""
        return {
            "DATABASE_URL": self.database_url,
            "REDIS_URL": self.valkey.url,
            "SECRET_KEY": "a secret of all machines",
            "BOOTSTRAP_API_KEY": KEY,
            "EGRESS_ALLOW": "127.0.0.0/8",
            **self._settings,
        }

    async def start(self, role: str) -> Machine:
        """One more process, ready."""
        self._count += 1
        home = self._directory / f"{role}-{self._count}"
        home.mkdir()
        log = home / "err"
        listen = ("--port", "0") if role == "web" else ()
        with log.open("ab") as errors:
            process = await asyncio.create_subprocess_exec(
                *(*COMMAND, role, *listen),
                env=environment(**self.settings),
                cwd=home,
                stdin=asyncio.subprocess.DEVNULL,
                stdout=asyncio.subprocess.PIPE,
                stderr=errors,
            )
        machine = Machine(role, process, "", log)
        self._started.append(machine)
        machine.url = await self._ready(machine)
        return machine

    async def start_all(self, *roles: str) -> list[Machine]:
        return list(await asyncio.gather(*(self.start(role) for role in roles)))

    async def close(self) -> None:
        await asyncio.gather(*(end(machine.process) for machine in self._started))

    async def _ready(self, machine: Machine) -> str:
        assert machine.process.stdout is not None
        async with asyncio.timeout(_START_SECONDS):
            while line := (await machine.process.stdout.readline()).decode():
                if machine.role == "web" and "listens on " in line:
                    return line.split("listens on ")[1].split()[0]
                if machine.role != "web" and line.rstrip().endswith("runs"):
                    return await self._watched(machine) if "METRICS_PORT" in self._settings else ""
        raise AssertionError(machine.log)

    async def _watched(self, machine: Machine) -> str:
        assert machine.process.stdout is not None
        line = (await machine.process.stdout.readline()).decode()
        return line.split("metrics")[1].strip().removesuffix("/")


@contextlib.asynccontextmanager
async def machines(directory: Path, server: PostgresServer, **settings: str) -> AsyncIterator[Machines]:
    """A fresh database of a server, a Valkey, and no process yet."""
    data = directory / "valkey"
    data.mkdir()
    valkey = EmbeddedValkey(data)
    async with server.database() as url:
        await valkey.start()
        hub = Machines(directory, url, valkey, settings)
        try:
            yield hub
        finally:
            await hub.close()
            await valkey.stop()
