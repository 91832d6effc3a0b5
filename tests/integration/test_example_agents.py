from __future__ import annotations

import asyncio
import sys

import pytest

from tests.integration.hubs import ROOT, Client, end, environment

pytestmark = pytest.mark.asyncio(loop_scope="session")


async def test_the_agent_chain_runs_and_leaves_nothing_behind(admin: Client) -> None:
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, str(ROOT / "examples/agent_chain.py"), "One fish two fish"),
        env=environment(URL=admin.url, API_KEY=admin.key or ""),
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    try:
        async with asyncio.timeout(60):
            out, err = await process.communicate()
    finally:
        await end(process)
    assert (process.returncode, err) == (0, b"")
    assert out.decode().splitlines() == [
        "extractor: healthy",
        "counter: healthy",
        'start: {"text": "One fish two fish"}',
        'extract: {"words": ["one", "fish", "two", "fish"]}',
        'count: {"total": 4, "most": "fish", "times": 2}',
        "completed",
    ]
    assert (await admin.get("/agents")).data == []
    assert (await admin.get("/workflows")).data == []
