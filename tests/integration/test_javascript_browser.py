"""The JavaScript client in a page, where there is a Chromium: on the path, or `CHROMIUM` names it.

`CHROMIUM_OPTIONS` are what it needs beside ours.
"""

from __future__ import annotations

import asyncio
import os
import shutil
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

import pytest
from aiohttp import web

from tests.integration.hubs import ROOT, Client, end

CHROMIUM = os.environ.get("CHROMIUM") or next(
    filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None
)
IS_REQUIRED = bool(os.environ.get("RUNCAST_REQUIRE_BROWSER"))
OPTIONS = ("--headless", "--no-sandbox", "--disable-gpu", "--no-first-run", "--remote-debugging-port=0")
PAGE = Path(__file__).with_name("javascript") / "page.html"


@pytest.mark.skipif(CHROMIUM is None and not IS_REQUIRED, reason="no Chromium: set CHROMIUM to one")
@pytest.mark.asyncio(loop_scope="session")
async def test_a_page_of_another_origin_hears_the_log(tmp_path: Path, admin: Client) -> None:
    assert CHROMIUM is not None, "no Chromium: set CHROMIUM to one"
    for _ in range(20):
        await admin.workflow()
    expected = [event["position"] for event in await admin.events()]
    told: asyncio.Future[dict[str, Any]] = asyncio.get_running_loop().create_future()

    async def said(request: web.Request) -> web.Response:
        told.set_result(await request.json())
        return web.Response()

    async def page(request: web.Request) -> web.FileResponse:
        return web.FileResponse(PAGE)

    async def module(request: web.Request) -> web.FileResponse:
        return web.FileResponse(ROOT / "hub" / "javascript" / "runcast.js")

    app = web.Application()
    app.add_routes([web.get("/", page), web.get("/runcast.js", module), web.post("/said", said)])
    runner = web.AppRunner(app)
    await runner.setup()
    try:
        site = web.TCPSite(runner, "127.0.0.1", 0)
        await site.start()
        query = urlencode({"hub": admin.url, "token": admin.key, "count": len(expected)})
        await opened(f"http://127.0.0.1:{runner.addresses[0][1]}/?{query}", tmp_path, told)
    finally:
        await runner.cleanup()
    assert told.result() == {"positions": expected, "error": "NoSocket"}


async def opened(url: str, profile: Path, told: asyncio.Future[dict[str, Any]]) -> None:
    """Until the page has said what it heard."""
    process = await asyncio.create_subprocess_exec(
        *(str(CHROMIUM), *OPTIONS, *os.environ.get("CHROMIUM_OPTIONS", "").split()),
        *(f"--user-data-dir={profile}", url),
        stdin=asyncio.subprocess.DEVNULL,
        stdout=asyncio.subprocess.DEVNULL,
        stderr=asyncio.subprocess.DEVNULL,
    )
    try:
        async with asyncio.timeout(60):
            await told
    finally:
        await end(process)
