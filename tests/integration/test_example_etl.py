from __future__ import annotations

import asyncio
import sys

import pytest

from tests.integration.hubs import ROOT, Client, end, environment

pytestmark = pytest.mark.asyncio(loop_scope="session")


async def test_the_etl_reads_joins_fails_and_goes_on_from_there(admin: Client) -> None:
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, str(ROOT / "examples/etl.py")),
        env=environment(URL=admin.url, API_KEY=admin.key or ""),
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    try:
        async with asyncio.timeout(60):
            out, err = await process.communicate()
    finally:
        await end(process)
    assert (process.returncode, err) == (0, b""), out.decode()
    assert out.decode().splitlines() == [
        "✔ 8 pages are read, never more than 3 at once",
        "✔ page 5 failed once, and came at the second attempt under the same key",
        "✔ the warehouse is closed: the run failed",
        "✔ retried from where it stopped, it completed",
        "✔ what was read was not read again",
        "✔ 16 rows are loaded, in the order of the pages",
        '✔ the results say so: {"rows": 16}',
    ]
    assert (await admin.get("/workflows")).data == []
