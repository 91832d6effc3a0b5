from __future__ import annotations

import asyncio
import sys

import pytest

from tests.integration.hubs import ROOT, Client, end, environment

pytestmark = pytest.mark.asyncio(loop_scope="session")


@pytest.mark.parametrize(("amount", "answer"), [("300", "ordered"), ("1200", "declined")])
async def test_the_approval_escalates_and_ends(admin: Client, amount: str, answer: str) -> None:
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, str(ROOT / "examples/approval.py"), amount),
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
        f"Approve {amount} for a chair: assigned",
        "escalated to level 1: it is boss's now",
        "ada is too late: the task is assigned: boss has it, not 'ada'",
        "what does not fit the form is refused at output.approved",
        "  Task created",
        "  Assigned to ada",
        "  Escalated to level 1",
        "  Reassigned from ada to boss: escalated",
        "  Task completed",
        answer,
    ]
    assert (await admin.get("/workflows")).data == []
