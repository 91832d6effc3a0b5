from __future__ import annotations

import asyncio
import stat
from pathlib import Path
from typing import Any

import pytest

from executor.domain.errors import ResourceConflict
from hub.control import ControlError, ask, served
from hub.places import socket_path


async def echo(fields: dict[str, Any]) -> Any:
    return fields


async def refuse(fields: dict[str, Any]) -> Any:
    raise ResourceConflict("not now")


COMMANDS = {"echo": echo, "refuse": refuse}


async def test_a_command_goes_through_and_its_answer_comes_back(tmp_path: Path) -> None:
    async with served(tmp_path, COMMANDS):
        assert await ask(tmp_path, "echo", a=1, b="é\n") == {"a": 1, "b": "é\n"}
        answers = await asyncio.gather(*(ask(tmp_path, "echo", n=n) for n in range(20)))
        assert answers == [{"n": n} for n in range(20)]


async def test_a_refusal_says_why_and_an_unknown_command_is_one(tmp_path: Path) -> None:
    async with served(tmp_path, COMMANDS):
        with pytest.raises(ControlError, match="not now"):
            await ask(tmp_path, "refuse")
        with pytest.raises(ControlError, match="unknown"):
            await ask(tmp_path, "fly")


@pytest.mark.parametrize(
    "line", [b"{nonsense\n", b"[]\n", b'{"no": "command"}\n', b"\n", b"", b"x" * 100_000 + b"\n"]
)
async def test_nonsense_breaks_nothing(tmp_path: Path, line: bytes) -> None:
    async with served(tmp_path, COMMANDS):
        _, writer = await asyncio.open_unix_connection(socket_path(tmp_path, "control.sock"))
        writer.write(line)
        writer.close()
        assert await ask(tmp_path, "echo", a=1) == {"a": 1}


async def test_only_the_owner_may_ask_and_nothing_is_left(tmp_path: Path) -> None:
    path = socket_path(tmp_path, "control.sock")
    async with served(tmp_path, COMMANDS):
        assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert not path.exists()
    with pytest.raises(OSError, match="No such file"):
        await ask(tmp_path, "echo")


async def test_a_socket_that_a_dead_hub_left_is_replaced(tmp_path: Path) -> None:
    socket_path(tmp_path, "control.sock").write_text("")
    async with served(tmp_path, COMMANDS):
        assert await ask(tmp_path, "echo", a=1) == {"a": 1}


def test_a_socket_of_a_long_path_lies_in_a_short_one_of_ours(tmp_path: Path) -> None:
    short = socket_path(tmp_path, "a.sock")
    assert short == tmp_path / "a.sock"
    deep = tmp_path / ("x" * 90)
    moved = socket_path(deep, "a.sock")
    try:
        assert len(str(moved)) <= 100
        assert socket_path(deep, "a.sock") == moved, "the same for every process that asks"
        assert socket_path(deep.with_name("y" * 90), "a.sock") != moved
        assert stat.S_IMODE(moved.parent.stat().st_mode) == 0o700
    finally:
        moved.parent.rmdir()
        socket_path(deep.with_name("y" * 90), "a.sock").parent.rmdir()
