"""An HTTP server that answers as it was told, request by request, and remembers what it was asked."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Mapping
from types import MappingProxyType
from typing import Any, NamedTuple

import msgspec


class Asked(NamedTuple):
    method: str
    path: str
    headers: dict[str, str]
    body: bytes


class Say(NamedTuple):
    """`body` goes as JSON, or as it is where it is bytes."""

    status: int
    body: Any
    headers: Mapping[str, str] = MappingProxyType({})


CUT = Say(0, None)
"""The request is read, and the connection ends without an answer."""


def success(data: Any, **metadata: Any) -> Say:
    return Say(200, {"success": True, "data": data, "message": "", "errors": [], "metadata": metadata})


def failure(status: int, code: str, message: str = "no", field: str | None = None, **headers: str) -> Say:
    errors = [{"code": code, "message": message, "field": field, "details": None, "new": "field"}]
    body = {"success": False, "data": None, "message": message, "errors": errors, "metadata": {"request_id": "r1"}}
    return Say(status, body, {name.replace("_", "-"): value for name, value in headers.items()})


class Scripted:
    """The last answer of the script is given for ever."""

    def __init__(self, script: list[Say]) -> None:
        self.script, self.asked = script, list[Asked]()
        self.url = ""

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(asyncio.IncompleteReadError, ConnectionError):
            while True:
                self.asked.append(await _read(reader))
                say = self.script.pop(0) if len(self.script) > 1 else self.script[0]
                if say is CUT:
                    break
                writer.write(_written(say))
                await writer.drain()
        writer.close()


async def _read(reader: asyncio.StreamReader) -> Asked:
    first, *lines = (await reader.readuntil(b"\r\n\r\n")).decode().split("\r\n")
    method, path, _ = first.split(" ")
    headers = {name.lower(): value for name, _, value in (line.partition(": ") for line in lines if line)}
    return Asked(method, path, headers, await reader.readexactly(int(headers.get("content-length", "0"))))


def _written(say: Say) -> bytes:
    body = say.body if isinstance(say.body, bytes) else msgspec.json.encode(say.body)
    headers = {"Content-Type": "application/json", "Content-Length": str(len(body)), **say.headers}
    lines = [f"HTTP/1.1 {say.status} X", *(f"{name}: {value}" for name, value in headers.items())]
    return "\r\n".join(lines).encode() + b"\r\n\r\n" + body


@contextlib.asynccontextmanager
async def scripted(*script: Say) -> AsyncIterator[Scripted]:
    told = Scripted(list(script))
    server = await asyncio.start_server(told.serve, "127.0.0.1", 0)
    told.url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
    try:
        yield told
    finally:
        server.close()
        await server.wait_closed()
