"""Commands on a hub that has its log on PostgreSQL: each by itself, without any process that runs."""

from __future__ import annotations

import json
from pathlib import Path

from tests.integration.hubs import runcast

SECRET = "a secret of this test"


async def test_every_command_reaches_a_log_on_postgresql(tmp_path: Path, postgres_url: str) -> None:
    async def run(*arguments: str) -> str:
        ran = await runcast(*arguments, "--data-dir", tmp_path, DATABASE_URL=postgres_url, SECRET_KEY=SECRET)
        assert ran.code == 0, (arguments, ran)
        assert SECRET not in ran.out + ran.err
        return ran.out

    assert (await run("keys", "create", "--name", "first", "--role", "admin")).startswith("sk_live_")
    (event,) = (json.loads(line) for line in (await run("events", "list")).splitlines())
    assert event["type"] == "apikey.created"
    (organization,) = (json.loads(line) for line in (await run("organizations", "list")).splitlines())
    assert organization["id"] == event["organization_id"]
    assert event["hash"] in await run("events", "verify")
    await run("events", "export", "--output", str(tmp_path / "log.ndjson.gz"))
    assert (tmp_path / "log.ndjson.gz").stat().st_size > 0
    assert (await run("projections", "rebuild", "--check")).startswith("all rows are as the log says")
    assert (await run("retention", "run", "--older-than", "0s")).startswith("0 executions")
