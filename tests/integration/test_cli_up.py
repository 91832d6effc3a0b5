"""`runcast up` from its start to its end, however that comes, and the commands beside it."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import socket
import stat
import tempfile
from pathlib import Path

import aiohttp
import pytest
from websockets.asyncio.client import connect

from hub.credentials import credentials_path, read_credentials
from tests.integration.hubs import (
    COMMAND,
    SMALLEST,
    WAITING,
    Client,
    Up,
    children,
    end,
    environment,
    is_running,
    runcast,
    until,
    up,
)


def valkey(hub: Up) -> int:
    """The process id of its Valkey, which is its only child."""
    (pid,) = children(hub.process.pid)
    assert b"valkey-server" in Path(f"/proc/{pid}/cmdline").read_bytes()
    return pid


async def gone(pid: int) -> None:
    async def has_ended() -> bool:
        return not is_running(pid)

    await until(has_ended)


async def test_it_says_where_it_listens_and_where_the_key_is(tmp_path: Path) -> None:
    data_dir = tmp_path / "data"
    async with up(data_dir) as hub, aiohttp.ClientSession() as http:
        kept = credentials_path(data_dir)
        assert hub.url.startswith("http://127.0.0.1:")
        assert not hub.url.endswith(":0")
        for text in (hub.key, str(kept), str(data_dir), "egress", "Ctrl-C"):
            assert text in hub.greeting
        for path, mode in ((data_dir, 0o700), (kept, 0o600), (data_dir / "secret.key", 0o600)):
            assert stat.S_IMODE(path.stat().st_mode) == mode
        assert stat.S_IMODE((data_dir / "runcast.db").stat().st_mode) == 0o600
        me = (await hub.client(http).get("/me")).data
        credentials = read_credentials(data_dir)
        assert credentials is not None
        assert me["organization"] == {"id": credentials.organization_id, "name": "default"}
        assert me["role"] == "admin"


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
async def test_a_signal_ends_it_with_0_and_nothing_is_left(tmp_path: Path, number: signal.Signals) -> None:
    data_dir = tmp_path / "data"
    async with up(data_dir) as hub, aiohttp.ClientSession() as http:
        client, server, key = hub.client(http), valkey(hub), hub.key
        workflow = await client.workflow(WAITING)
        await client.execution(workflow["id"])
        async with connect(hub.url.replace("http", "ws") + f"/api/v1/ws?token={key}") as socket_:
            await socket_.recv()
            assert await hub.stop(number) == 0
            await socket_.wait_closed()
            assert socket_.close_code in (1001, 1012)
        assert not is_running(server)
        left = {path.name for path in data_dir.iterdir()}
        assert left <= {"runcast.db", "runcast.db.lock", "credentials.json", "secret.key", "valkey.log"}
        assert "Traceback" not in hub.log
    async with up(data_dir) as hub, aiohttp.ClientSession() as http:
        assert key not in hub.greeting, "it was shown once"
        assert str(credentials_path(data_dir)) in hub.greeting
        shown = (await hub.client(http, key).get(f"/workflows/{workflow['id']}")).data
        assert shown["name"] == workflow["name"]


async def test_ctrl_c_in_a_terminal_reaches_the_whole_group_and_ends_it_with_0(tmp_path: Path) -> None:
    with (tmp_path / "err").open("wb") as errors:
        process = await asyncio.create_subprocess_exec(
            *COMMAND,
            *("up", "--port", "0", "--data-dir", str(tmp_path / "data")),
            env=environment(),
            stdout=asyncio.subprocess.PIPE,
            stderr=errors,
            start_new_session=True,
        )
    try:
        assert process.stdout is not None
        async with asyncio.timeout(60):
            while not (await process.stdout.readline()).startswith(b"Ctrl-C"):
                pass
            os.killpg(process.pid, signal.SIGINT)
            assert await process.wait() == 0
    finally:
        await end(process)
    assert "Traceback" not in (tmp_path / "err").read_text()


async def test_kill_9_leaves_no_valkey_and_the_next_start_goes_on(tmp_path: Path) -> None:
    data_dir = tmp_path / "data"
    async with up(data_dir) as hub, aiohttp.ClientSession() as http:
        server, client = valkey(hub), hub.client(http)
        workflow = await client.workflow()
        hub.process.kill()
        await hub.process.wait()
        await gone(server)
    async with up(data_dir) as hub, aiohttp.ClientSession() as http:
        client = hub.client(http)
        assert (await client.get(f"/workflows/{workflow['id']}")).status == 200
        assert (await client.ended(await client.execution(workflow["id"])))["status"] == "completed"
        assert (await client.get("/health")).data["status"] == "healthy"


async def test_a_second_one_on_the_same_data_is_refused_with_the_reason(tmp_path: Path) -> None:
    data_dir = tmp_path / "data"
    async with up(data_dir) as hub, aiohttp.ClientSession() as http:
        ran = await runcast("up", "--port", "0", "--data-dir", data_dir)
        assert (ran.code, ran.out) == (1, "")
        (line,) = ran.err.strip().splitlines()
        assert line.startswith("runcast: ")
        for text in (hub.url, str(hub.process.pid), str(data_dir)):
            assert text in line
        assert (await hub.client(http).get("/health")).data["status"] == "healthy", "and the first one never noticed"


async def test_a_port_in_use_is_refused_with_the_reason(tmp_path: Path) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        ran = await runcast("up", "--port", str(port), "--data-dir", tmp_path)
    assert ran.code == 1
    assert ran.err.strip().splitlines()[-1].startswith(f"runcast: cannot listen on 127.0.0.1:{port}: ")
    assert "Traceback" not in ran.err


@pytest.mark.parametrize("host", ["nowhere.invalid", "192.0.2.1"])
async def test_an_address_that_is_not_ours_is_refused_with_the_reason(tmp_path: Path, host: str) -> None:
    ran = await runcast("up", "--host", host, "--port", "0", "--data-dir", tmp_path)
    assert ran.code == 1
    assert ran.err.strip().splitlines()[-1].startswith(f"runcast: cannot listen on {host}:0: ")
    assert "Unknown error" not in ran.err


async def test_an_ipv6_address(tmp_path: Path) -> None:
    async with up(tmp_path / "data", "--host", "::1") as hub, aiohttp.ClientSession() as http:
        assert hub.url.startswith("http://[::1]:")
        assert (await hub.client(http).get("/me")).status == 200


async def test_a_long_path_of_the_data_directory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Longer than a socket's may be: those lie in a short directory, which goes with the hub."""
    scratch = tempfile.TemporaryDirectory(prefix="rc-")
    monkeypatch.setenv("TMPDIR", scratch.name)
    data_dir = tmp_path / ("long-" * 20) / ("path-" * 20)
    data_dir.parent.mkdir()
    async with up(data_dir) as hub, aiohttp.ClientSession() as http:
        assert (await hub.client(http).get("/health")).data["status"] == "healthy"
        ran = await runcast("keys", "create", "--name", "n", "--data-dir", data_dir)
        assert ran.code == 0
        assert (await hub.client(http, ran.out.strip()).get("/me")).status == 200
        assert os.listdir(scratch.name) != []
        assert await hub.stop() == 0
    assert os.listdir(scratch.name) == []
    scratch.cleanup()


async def test_a_bootstrap_key_is_the_first_admin_key_and_is_kept_nowhere(tmp_path: Path) -> None:
    data_dir, key = tmp_path / "data", "sk_test_" + "b" * 32
    for _ in range(2):
        async with up(data_dir, BOOTSTRAP_API_KEY=key) as hub, aiohttp.ClientSession() as http:
            client = hub.client(http, key)
            assert (await client.get("/me")).data["role"] == "admin"
            assert len((await client.get("/auth/api-keys")).data) == 1
            assert await hub.stop() == 0
            assert key not in hub.greeting + hub.log
    assert not credentials_path(data_dir).exists()


async def test_without_its_secret_key_or_with_another_it_is_refused_and_nothing_is_lost(tmp_path: Path) -> None:
    data_dir = tmp_path / "data"
    async with up(data_dir) as hub:
        assert await hub.stop() == 0
    kept = data_dir / "secret.key"
    right = kept.read_text()
    kept.unlink()
    start, create = ("up", "--port", "0"), ("keys", "create", "--name", "n")
    for text, command in ((None, start), ("", create), ("another", start), ("another", create)):
        if text is not None:
            kept.write_text(text)
        ran = await runcast(*command, "--data-dir", data_dir)
        assert (ran.code, ran.out) == (1, "")
        assert ran.err.strip().splitlines()[-1].startswith("runcast: ")
        assert "secret" in ran.err
        assert "Traceback" not in ran.err
        assert (kept.read_text() if text is not None else None) == text
    kept.write_text(right)
    async with up(data_dir) as hub, aiohttp.ClientSession() as http:
        assert (await hub.client(http).get("/me")).status == 200


async def test_a_first_key_that_was_revoked_is_replaced_at_the_next_start(tmp_path: Path) -> None:
    data_dir = tmp_path / "data"
    async with up(data_dir) as hub, aiohttp.ClientSession() as http:
        former, client = hub.key, hub.client(http)
        assert (await client.delete(f"/auth/api-keys/{(await client.get('/me')).data['id']}")).status == 200
        assert await hub.stop() == 0
    async with up(data_dir) as hub, aiohttp.ClientSession() as http:
        assert hub.key != former
        assert hub.key in hub.greeting
        assert (await hub.client(http).get("/me")).data["role"] == "admin"
        assert (await hub.client(http, former).get("/me")).status == 401


async def test_a_secret_key_of_the_environment_is_not_written_down(tmp_path: Path) -> None:
    async with up(tmp_path / "data", SECRET_KEY="any text") as hub:
        assert not (hub.data_dir / "secret.key").exists()


async def test_keys_are_created_beside_it_and_hold_at_once(tmp_path: Path) -> None:
    async with up(tmp_path / "data") as hub, aiohttp.ClientSession() as http:
        created = await runcast(
            *("keys", "create", "--name", "ci", "--organization", "acme", "--permission", "workflow.read"),
            *("--data-dir", hub.data_dir),
        )
        assert (created.code, created.err) == (0, "")
        client = hub.client(http, created.out.strip())
        me = (await client.get("/me")).data
        assert (me["name"], me["permissions"], me["role"]) == ("ci", ["workflow.read"], None)
        assert me["organization"]["name"] == "acme"
        refused = await client.post("/workflows", {"name": "n", "definition": SMALLEST})
        assert refused.status == 403
        again = await runcast("keys", "create", "--name", "n", "--organization", "acme", "--data-dir", hub.data_dir)
        other = (await hub.client(http, again.out.strip()).get("/me")).data
        assert other["organization"] == me["organization"]
        assert other["role"] == "admin"
        for options in (["--role", "owner"], ["--expires-at", "soon"]):
            ran = await runcast("keys", "create", "--name", "n", *options, "--data-dir", hub.data_dir)
            assert (ran.code, ran.out) == (1, "")
            assert ran.err.startswith("runcast: ")
            assert len(ran.err.strip().splitlines()) == 1


async def test_the_log_is_listed_and_proved_beside_it_under_load(tmp_path: Path) -> None:
    async with up(tmp_path / "data") as hub, aiohttp.ClientSession() as http:
        client = hub.client(http)
        workflow = await client.workflow()
        loading = asyncio.create_task(_load(client, workflow["id"]))
        try:
            heads = []
            for _ in range(2):
                verified = await runcast("events", "verify", "--data-dir", hub.data_dir)
                assert (verified.code, verified.err) == (0, ""), verified
                heads.append(int(verified.out.split()[0]))
            listed = await runcast("events", "list", "--data-dir", hub.data_dir)
            positions = [json.loads(line)["position"] for line in listed.out.splitlines()]
        finally:
            loading.cancel()
            await asyncio.gather(loading, return_exceptions=True)
        assert heads[0] < heads[1]
        assert positions == list(range(1, len(positions) + 1))
        assert len(positions) >= heads[1]
        for line in listed.out.splitlines()[:5]:
            event = json.loads(line)
            assert (await client.get(f"/events/{event['position']}")).data == event, "the same JSON as over REST"


async def _load(client: Client, workflow_id: str) -> None:
    while True:
        await asyncio.gather(*(client.execution(workflow_id) for _ in range(8)))


async def test_a_valkey_that_dies_is_replaced(tmp_path: Path) -> None:
    async with up(tmp_path / "data") as hub, aiohttp.ClientSession() as http:
        former = valkey(hub)
        os.kill(former, signal.SIGKILL)

        async def is_back() -> bool:
            health = (await hub.client(http).get("/health")).data
            return bool(health["status"] == "healthy" and former not in children(hub.process.pid))

        await until(is_back)
        assert await hub.stop() == 0


async def test_a_redis_that_is_away_degrades_it_and_no_more(tmp_path: Path) -> None:
    async with up(tmp_path / "data", REDIS_URL="unix:///nowhere/redis.sock") as hub, aiohttp.ClientSession() as http:
        client = hub.client(http)
        health = await client.get("/health")
        assert (health.status, health.data["status"]) == (200, "degraded")
        assert health.data["components"]["redis"]["status"] == "unhealthy"
        assert (await client.get("/health/ready")).status == 200
        ended = await client.ended(await client.execution((await client.workflow())["id"]))
        assert ended["status"] == "completed"
        assert await hub.stop() == 0
