"""A fresh hub for the demo, in a process of its own, and the little that is needed to talk to it."""

from __future__ import annotations

import asyncio
import contextlib
import sys
import tempfile
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import aiohttp

from hub.credentials import read_credentials
from storage.lock import holder

_START_SECONDS = 30
_STOP_SECONDS = 20


class DemoFailed(Exception):
    """Something did not happen that should have."""


@dataclass
class DemoHub:
    url: str
    api_key: str
    data_dir: Path
    http: aiohttp.ClientSession

    @property
    def socket_url(self) -> str:
        return self.url.replace("http", "ws", 1) + "/api/v1/ws"

    async def call(self, method: str, path: str, body: Any = None) -> Any:
        """The `data` of the answer. Raises `DemoFailed` with the hub's own words for a refusal."""
        async with self.http.request(method, f"{self.url}/api/v1{path}", json=body) as answer:
            envelope = await answer.json()
        if not envelope["success"]:
            raise DemoFailed(f"{method} {path}: {answer.status} {envelope['message']}")
        return envelope["data"]


@contextlib.asynccontextmanager
async def fresh_hub(keep: bool) -> AsyncIterator[DemoHub]:
    """`runcast up` on a temporary directory and a free port; ended, and cleared away, with the context."""
    with contextlib.ExitStack() as stack:
        if keep:
            data_dir = Path(tempfile.mkdtemp(prefix="runcast-demo-"))
        else:
            data_dir = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="runcast-demo-")))
        process = await asyncio.create_subprocess_exec(
            *(sys.executable, "-m", "hub.cli", "up", "--port", "0", "--data-dir", str(data_dir)),
            stdout=asyncio.subprocess.DEVNULL,
            stderr=asyncio.subprocess.DEVNULL,
        )
        try:
            url = await _address(data_dir, process)
            credentials = read_credentials(data_dir)
            if credentials is None:
                raise DemoFailed("the hub kept no credentials")
            headers = {"X-API-Key": credentials.api_key}
            async with aiohttp.ClientSession(headers=headers) as http:
                yield DemoHub(url, credentials.api_key, data_dir, http)
        finally:
            with contextlib.suppress(ProcessLookupError):
                process.terminate()
            async with asyncio.timeout(_STOP_SECONDS):
                await process.wait()


async def _address(data_dir: Path, process: asyncio.subprocess.Process) -> str:
    try:
        async with asyncio.timeout(_START_SECONDS):
            while True:
                address = holder(data_dir / "runcast.db.lock").address
                if address:
                    return address
                if process.returncode is not None:
                    raise DemoFailed(f"the hub ended at its start with code {process.returncode}")
                await asyncio.sleep(0.02)
    except TimeoutError:
        raise DemoFailed(f"the hub did not start within {_START_SECONDS} seconds") from None
