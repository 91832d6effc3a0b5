from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import sys
import threading
from collections.abc import AsyncIterator, Callable
from pathlib import Path

import pytest
from redis.asyncio import Redis
from redis.asyncio.retry import Retry
from redis.backoff import ConstantBackoff
from redis.exceptions import RedisError

from hub.valkey import EmbeddedValkey, ValkeyFailed, _is_ours

_PARENT = """
import asyncio, sys
from pathlib import Path
from hub.valkey import EmbeddedValkey

async def main():
    valkey = EmbeddedValkey(Path(sys.argv[1]))
    await valkey.start()
    print(valkey.pid, flush=True)
    await asyncio.sleep(60)

asyncio.run(main())
"""


@pytest.fixture
async def valkey(tmp_path: Path) -> AsyncIterator[EmbeddedValkey]:
    server = EmbeddedValkey(tmp_path)
    await server.start()
    try:
        yield server
    finally:
        await server.stop()


async def until(holds: Callable[[], bool]) -> None:
    for _ in range(1000):
        if holds():
            return
        await asyncio.sleep(0.01)
    pytest.fail("it did not come to hold within ten seconds")


def is_alive(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


async def asked(url: str, *command: str) -> object:
    client: Redis[bytes] = Redis.from_url(url)
    try:
        return await client.execute_command(*command)
    finally:
        await client.aclose()


async def test_it_answers_on_a_unix_socket_of_ours_alone_and_keeps_nothing(
    valkey: EmbeddedValkey, tmp_path: Path
) -> None:
    assert await asked(valkey.url, "PING") is True
    socket = tmp_path / "valkey.sock"
    assert valkey.url == f"unix://{socket}"
    assert socket.stat().st_mode & 0o777 == 0o600
    for setting, value in {"port": b"0", "save": b"", "appendonly": b"no", "maxmemory-policy": b"noeviction"}.items():
        said = await asked(valkey.url, "CONFIG", "GET", setting)
        assert said in ({setting.encode(): value}, [setting.encode(), value], {setting: value.decode()})


async def test_a_long_data_directory_gets_a_short_socket_path(tmp_path: Path) -> None:
    long = tmp_path / ("d" * 120)
    server = EmbeddedValkey(long)
    await server.start()
    try:
        assert await asked(server.url, "PING") is True
        socket = Path(server.url.removeprefix("unix://"))
        assert socket.parent.stat().st_mode & 0o777 == 0o700
        assert EmbeddedValkey(long).url == server.url
    finally:
        await server.stop()
    assert not socket.parent.exists()


async def test_stopping_leaves_no_process_and_no_file(tmp_path: Path) -> None:
    server = EmbeddedValkey(tmp_path)
    await server.start()
    pid = server.pid
    assert pid is not None
    await server.stop()
    assert not is_alive(pid)
    assert os.listdir(tmp_path) == ["valkey.log"]
    await server.stop()


async def test_it_is_started_again_when_it_dies(valkey: EmbeddedValkey) -> None:
    first = valkey.pid
    assert first is not None
    os.kill(first, signal.SIGKILL)
    await until(lambda: valkey.pid not in (None, first))
    await until(lambda: Path(valkey.url.removeprefix("unix://")).is_socket())
    retry = Retry(ConstantBackoff(0.01), 500)
    client: Redis[bytes] = Redis.from_url(valkey.url, retry=retry, retry_on_error=[RedisError])
    assert await client.ping()
    await client.aclose()


@pytest.mark.skipif(sys.platform != "linux", reason="PR_SET_PDEATHSIG is Linux's")
async def test_killing_the_parent_leaves_no_server(tmp_path: Path) -> None:
    parent = await asyncio.create_subprocess_exec(
        sys.executable, "-c", _PARENT, str(tmp_path), stdout=subprocess.PIPE, cwd=Path.cwd()
    )
    assert parent.stdout is not None
    pid = int(await parent.stdout.readline())
    assert is_alive(pid)
    parent.kill()
    await parent.wait()
    await until(lambda: not is_alive(pid))


async def test_a_stale_server_and_its_socket_are_cleared_away(tmp_path: Path) -> None:
    left = EmbeddedValkey(tmp_path)
    await left.start()
    pid = left.pid
    assert pid is not None
    assert left._watch is not None
    left._watch.cancel()
    server = EmbeddedValkey(tmp_path)
    await server.start()
    try:
        assert left.pid is None
        assert server.pid != pid
        assert await asked(server.url, "PING") is True
    finally:
        await server.stop()


async def test_a_stranger_with_the_process_id_of_the_file_is_left_alone(tmp_path: Path) -> None:
    (tmp_path / "valkey.pid").write_text(f"{os.getpid()}\n")
    assert not _is_ours(os.getpid(), tmp_path / "valkey.sock")
    server = EmbeddedValkey(tmp_path)
    await server.start()
    await server.stop()


async def test_a_server_that_does_not_start_says_why(tmp_path: Path) -> None:
    (tmp_path / "valkey.sock").mkdir()
    server = EmbeddedValkey(tmp_path)
    with pytest.raises((ValkeyFailed, OSError)):
        await server.start()
    (tmp_path / "valkey.sock").rmdir()
    await server.stop()


def test_it_is_started_from_the_main_thread_only(tmp_path: Path) -> None:
    caught: list[BaseException] = []

    def elsewhere() -> None:
        try:
            asyncio.run(EmbeddedValkey(tmp_path).start())
        except RuntimeError as error:
            caught.append(error)

    thread = threading.Thread(target=elsewhere)
    thread.start()
    thread.join()
    assert "main thread" in str(caught[0])
