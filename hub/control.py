"""The door for the operator's commands beside a running hub: a Unix socket in the data directory, owner only.

One JSON object on a line asks, one on a line answers: `{"command": "create_key", …}` → `{"result": …}` or
`{"error": "…"}`. Only one process may write an embedded log, so a command that writes asks that process to.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path
from typing import Any

import msgspec

from executor.domain.errors import Refusal
from hub.places import clear, socket_path

Command = Callable[[dict[str, Any]], Awaitable[Any]]
_LONGEST_LINE = 32 * 1024 * 1024
"""Bytes: a repair may be a row with a large document. Only the owner of the data can ask."""
_NAME = "control.sock"


class ControlError(Exception):
    """The hub refused a command, and says why."""


@contextlib.asynccontextmanager
async def served(data_dir: Path, commands: dict[str, Command]) -> AsyncIterator[None]:
    """Answers commands while the context is open."""
    path = socket_path(data_dir, _NAME)
    path.unlink(missing_ok=True)

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(OSError, ValueError, asyncio.IncompleteReadError):
            writer.write(msgspec.json.encode(await _performed(await reader.readline(), commands)) + b"\n")
            await writer.drain()
        writer.close()
        with contextlib.suppress(OSError):
            await writer.wait_closed()

    former = os.umask(0o177)
    try:
        server = await asyncio.start_unix_server(answer, path, limit=_LONGEST_LINE)
    finally:
        os.umask(former)
    try:
        yield
    finally:
        server.close()
        await server.wait_closed()
        clear(path, data_dir)


async def _performed(line: bytes, commands: dict[str, Command]) -> dict[str, Any]:
    try:
        asked = msgspec.json.decode(line, type=dict[str, Any])
        command = commands[asked.pop("command")]
    except (msgspec.MsgspecError, KeyError):
        return {"error": "the command is unknown"}
    try:
        return {"result": await command(asked)}
    except (Refusal, ControlError) as error:
        return {"error": str(error)}


async def ask(data_dir: Path, command: str, **fields: Any) -> Any:
    """The running hub's result. Raises `ControlError`, and `OSError` where no hub answers."""
    reader, writer = await asyncio.open_unix_connection(socket_path(data_dir, _NAME), limit=_LONGEST_LINE)
    try:
        writer.write(msgspec.json.encode({"command": command} | fields) + b"\n")
        answer = msgspec.json.decode(await reader.readline() or b'{"error": "the hub ended"}')
    finally:
        writer.close()
        with contextlib.suppress(OSError):
            await writer.wait_closed()
    if "error" in answer:
        raise ControlError(answer["error"])
    return answer["result"]
