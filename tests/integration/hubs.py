"""What tests of the doors stand on: a whole hub in this process or in one of its own, and clients of it over HTTP."""

from __future__ import annotations

import asyncio
import contextlib
import io
import os
import signal
import sys
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from itertools import count
from pathlib import Path
from typing import Any, NamedTuple

import aiohttp
import msgspec

from executor.clock import SystemClock
from executor.ports import Metadata
from hub.app import create_app
from hub.auth.apikeys import new_key
from hub.credentials import read_credentials
from hub.keys import create_key, organization_named
from hub.server import Server, bound, url_of
from hub.services import Services
from hub.settings import Settings
from hub.valkey import EmbeddedValkey
from hub.wiring import opened, opened_store

ROOT = Path(__file__).resolve().parents[2]
_numbers = count(1)


def unique(word: str) -> str:
    """A name that nothing else in this process has."""
    return f"{word}-{os.getpid()}-{next(_numbers)}"


async def until(holds: Callable[[], Awaitable[Any]], seconds: float = 30) -> Any:
    """The first true answer of `holds`; fails where none comes."""
    async with asyncio.timeout(seconds):
        while not (answer := await holds()):
            await asyncio.sleep(0.01)
        return answer


class Answer(NamedTuple):
    status: int
    headers: Mapping[str, str]
    body: bytes

    @property
    def json(self) -> Any:
        return msgspec.json.decode(self.body)

    @property
    def data(self) -> Any:
        return self.json["data"]

    @property
    def errors(self) -> list[dict[str, Any]]:
        errors: list[dict[str, Any]] = self.json["errors"]
        return errors

    @property
    def fields(self) -> list[str | None]:
        return sorted((error["field"] for error in self.errors), key=str)

    @property
    def codes(self) -> set[str]:
        return {error["code"] for error in self.errors}

    @property
    def metadata(self) -> dict[str, Any]:
        metadata: dict[str, Any] = self.json["metadata"]
        return metadata


class Client:
    """Somebody with a key. Paths are below `/api/v1`."""

    def __init__(self, url: str, http: aiohttp.ClientSession, key: str | None, organization_id: str = "") -> None:
        self.url, self.http, self.key, self.organization_id = url, http, key, organization_id

    async def send(
        self,
        method: str,
        path: str,
        body: Any = None,
        *,
        raw: bytes | None = None,
        headers: Mapping[str, str] | None = None,
        prefix: str = "/api/v1",
        **query: Any,
    ) -> Answer:
        """`body` goes as JSON, `raw` as it is."""
        given = dict(headers or {})
        if self.key is not None:
            given.setdefault("X-API-Key", self.key)
        if body is not None:
            raw = msgspec.json.encode(body)
        if raw is not None:
            given.setdefault("Content-Type", "application/json")
        pairs = [
            (name, str(item))
            for name, value in query.items()
            for item in (value if isinstance(value, list) else [value])
        ]
        async with self.http.request(
            method,
            f"{self.url}{prefix}{path}",
            data=None if raw is None else io.BytesIO(raw),
            headers=given,
            params=pairs,
            skip_auto_headers=("Content-Type",),
            allow_redirects=False,
        ) as answer:
            return Answer(answer.status, answer.headers, await answer.read())

    async def get(self, path: str, **query: Any) -> Answer:
        return await self.send("GET", path, **query)

    async def post(self, path: str, body: Any = None, **query: Any) -> Answer:
        return await self.send("POST", path, body, **query)

    async def put(self, path: str, body: Any) -> Answer:
        return await self.send("PUT", path, body)

    async def delete(self, path: str, **query: Any) -> Answer:
        return await self.send("DELETE", path, **query)

    async def workflow(self, definition: dict[str, Any] | None = None, **fields: Any) -> dict[str, Any]:
        """A new workflow, by default the smallest there is."""
        body = {"name": unique("workflow"), "definition": definition or SMALLEST} | fields
        answer = await self.post("/workflows", body)
        assert answer.status == 201, answer.body
        created: dict[str, Any] = answer.data
        return created

    async def execution(self, workflow_id: str, **body: Any) -> str:
        """A new execution; its id."""
        answer = await self.post(f"/workflows/{workflow_id}/execute", body)
        assert answer.status == 202, answer.body
        return str(answer.data["execution_id"])

    async def ended(self, execution_id: str) -> dict[str, Any]:
        """The execution, once it has ended."""

        async def look() -> dict[str, Any] | None:
            found: dict[str, Any] = (await self.get(f"/executions/{execution_id}")).data
            return found if found["status"] in ("completed", "failed", "cancelled", "terminated") else None

        found: dict[str, Any] = await until(look)
        return found

    async def webhook(self, url: str, *events: str, **fields: Any) -> dict[str, Any]:
        answer = await self.post("/webhooks", {"url": url, "events": list(events) or ["*"]} | fields)
        assert answer.status == 201, answer.body
        created: dict[str, Any] = answer.data
        return created

    async def events(self, **query: Any) -> list[dict[str, Any]]:
        answer = await self.get("/events", limit=1000, **query)
        assert answer.status == 200, answer.body
        found: list[dict[str, Any]] = answer.data
        return found


SMALLEST: dict[str, Any] = {"components": [{"id": "start", "type": "start"}]}
WAITING: dict[str, Any] = {
    "components": [{"id": "start", "type": "start"}, {"id": "wait", "type": "wait", "config": {"seconds": 3600}}],
    "connections": [{"source": "start", "target": "wait"}],
}
"""Runs until it is cancelled."""


class Hub:
    """A hub in this process."""

    def __init__(self, url: str, services: Services, http: aiohttp.ClientSession) -> None:
        self.url, self.services, self.http = url, services, http

    async def client(
        self,
        organization: str | None = None,
        *,
        role: str | None = None,
        permissions: tuple[str, ...] = (),
        expires_at: Any = None,
    ) -> Client:
        """A key of an organization, a new one unless named; an admin's unless said."""
        hub = self.services
        owner = await organization_named(hub.store, hub.clock, hub.secret_key, organization or unique("organization"))
        key = new_key()
        await create_key(
            hub.store,
            hub.clock,
            hub.secret_key,
            owner.id,
            Metadata(),
            name=unique("key"),
            key=key,
            role=role or (None if permissions else "admin"),
            permissions=permissions,
            expires_at=expires_at,
        )
        return Client(self.url, self.http, key, owner.id)

    @property
    def nobody(self) -> Client:
        return Client(self.url, self.http, None)

    @property
    def head(self) -> int:
        return self.services.store.log.head


@contextlib.asynccontextmanager
async def running(data_dir: Path, **settings: Any) -> AsyncIterator[Hub]:
    """A real hub on a free port: SQLite, Valkey, engine, webhooks, uvicorn."""
    chosen, clock = Settings(data_dir=data_dir, port=0, **settings), SystemClock()
    ready, valkey = asyncio.Event(), EmbeddedValkey(data_dir)
    known: list[Services] = []
    async with opened_store(chosen, clock) as (store, key):
        await valkey.start()

        @contextlib.asynccontextmanager
        async def hub() -> AsyncIterator[Services]:
            async with opened(chosen, clock, store, key, valkey.url) as services:
                known.append(services)
                yield services

        async def before_close() -> None:
            await asyncio.gather(known[0].sockets.close_all(), known[0].streams.close_all())

        listener = bound("127.0.0.1", 0)
        server = Server(create_app(hub, clock), ready.set, before_close)
        serving = asyncio.create_task(server.serve([listener]))
        try:
            async with asyncio.timeout(30):
                await ready.wait()
            async with aiohttp.ClientSession() as http:
                yield Hub(url_of(listener), known[0], http)
        finally:
            server.should_exit = True
            await serving
            listener.close()
            await valkey.stop()


def environment(**settings: str) -> dict[str, str]:
    """For a subprocess: nothing of this process's settings, and this checkout's code."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith("RUNCAST_")}
    path = os.pathsep.join(filter(None, (str(ROOT), os.environ.get("PYTHONPATH", ""))))
    return kept | {"PYTHONPATH": path} | {f"RUNCAST_{name}": value for name, value in settings.items()}


COMMAND = (sys.executable, "-m", "hub.cli")


class Ran(NamedTuple):
    code: int
    out: str
    err: str


async def runcast(*arguments: str | Path, seconds: float = 60, **settings: str) -> Ran:
    """`runcast` with these arguments, to its end."""
    process = await asyncio.create_subprocess_exec(
        *COMMAND,
        *(str(argument) for argument in arguments),
        env=environment(**settings),
        stdin=asyncio.subprocess.DEVNULL,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    try:
        async with asyncio.timeout(seconds):
            out, err = await process.communicate()
    finally:
        await end(process)
    return Ran(process.returncode or 0, out.decode(), err.decode())


async def end(process: asyncio.subprocess.Process) -> None:
    """Kills a process that is still there."""
    if process.returncode is None:
        with contextlib.suppress(ProcessLookupError):
            process.kill()
        await process.wait()


class Up:
    """`runcast up` in a process of its own."""

    def __init__(
        self, process: asyncio.subprocess.Process, data_dir: Path, url: str, greeting: str, log: Path
    ) -> None:
        self.process, self.data_dir, self.url, self.greeting, self._log = process, data_dir, url, greeting, log

    @property
    def key(self) -> str:
        credentials = read_credentials(self.data_dir)
        assert credentials is not None
        return credentials.api_key

    @property
    def log(self) -> str:
        """What it wrote to standard error so far."""
        return self._log.read_text()

    def client(self, http: aiohttp.ClientSession, key: str | None = None) -> Client:
        return Client(self.url, http, key or self.key)

    async def stop(self, number: signal.Signals = signal.SIGTERM, seconds: float = 20) -> int:
        """Its exit code."""
        self.process.send_signal(number)
        async with asyncio.timeout(seconds):
            await self.process.wait()
        assert self.process.returncode is not None
        return self.process.returncode


@contextlib.asynccontextmanager
async def up(data_dir: Path, *arguments: str, **settings: str) -> AsyncIterator[Up]:
    """`runcast up` on a free port, ready; killed at the end where it still runs."""
    log = data_dir.with_name(data_dir.name[:64] + ".err")
    with log.open("ab") as errors:
        process = await asyncio.create_subprocess_exec(
            *COMMAND,
            *("up", "--port", "0", "--data-dir", str(data_dir), *arguments),
            env=environment(**settings),
            stdin=asyncio.subprocess.DEVNULL,
            stdout=asyncio.subprocess.PIPE,
            stderr=errors,
        )
    try:
        greeting = await _greeting(process)
        assert greeting, log.read_text()
        yield Up(process, data_dir, greeting.split("listens on ")[1].split()[0], greeting, log)
    finally:
        await end(process)


async def _greeting(process: asyncio.subprocess.Process) -> str:
    """What it prints until it is ready; empty where it ended instead."""
    assert process.stdout is not None
    lines: list[str] = []
    async with asyncio.timeout(60):
        while line := (await process.stdout.readline()).decode():
            lines.append(line)
            if line.startswith("Ctrl-C"):
                return "".join(lines)
    return ""


def children(pid: int) -> set[int]:
    """Processes whose parent this is."""
    try:
        texts = (Path(f"/proc/{pid}/task") / task / "children" for task in os.listdir(f"/proc/{pid}/task"))
        return {int(child) for text in texts for child in text.read_text().split()}
    except OSError:
        return set()


def is_running(pid: int) -> bool:
    """It is there, and not only waiting to be reaped."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False
