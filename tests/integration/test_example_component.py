"""The package that offers a component type, installed as anybody would."""

from __future__ import annotations

import asyncio
import shutil
import sys
from pathlib import Path
from typing import Any

import pytest

from tests.integration.hubs import ROOT, Client, end, running

MODULE = "runcast_word_count"


@pytest.fixture
async def installed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The package, in a directory of its own on the path. It is built from a copy: a build leaves files behind."""
    source, target = tmp_path / "source", tmp_path / "installed"
    shutil.copytree(ROOT / "examples/word_count_component", source)
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "pip", "install", "--quiet", "--disable-pip-version-check", "--no-index"),
        *("--no-deps", "--no-build-isolation", "--no-compile", "--target", str(target), str(source)),
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
    )
    try:
        async with asyncio.timeout(60):
            said, _ = await process.communicate()
    finally:
        await end(process)
    assert process.returncode == 0, said.decode()
    monkeypatch.syspath_prepend(str(target))
    monkeypatch.setitem(sys.modules, MODULE, sys)
    monkeypatch.delitem(sys.modules, MODULE)


def counting(**config: Any) -> dict[str, Any]:
    return {
        "components": [
            {"id": "start", "type": "start"},
            {"id": "count", "type": "word_count", "config": config},
        ],
        "connections": [{"source": "start", "target": "count"}],
    }


async def test_a_package_brings_a_component_type_that_runs(installed: None, tmp_path: Path) -> None:
    async with running(tmp_path / "data") as hub:
        client: Client = await hub.client()
        known = {each["type"]: each for each in (await client.get("/components")).data}
        assert known["word_count"]["category"] == "text"
        refused = await client.post("/workflows", {"name": "wrong", "definition": counting(top=0)})
        assert (refused.status, refused.codes) == (422, {"WORKFLOW_INVALID"})
        made = await client.workflow(counting(text="${workflow.input.text}", top=2))
        id = await client.execution(made["id"], parameters={"text": "One fish two fish. Red fish, one Fish!"})
        ended = await client.ended(id)
        top = [{"word": "fish", "times": 4}, {"word": "one", "times": 2}]
        assert ended["results"] == {"count": {"words": 8, "top": top}}
        long = await client.ended(await client.execution(made["id"], parameters={"text": "a" * 500_001}))
        assert long["error_message"] == "the text has 500001 characters, more than 500000"


async def test_without_the_package_there_is_no_such_type(tmp_path: Path) -> None:
    async with running(tmp_path / "data") as hub:
        client = await hub.client()
        refused = await client.post("/workflows", {"name": "unknown", "definition": counting(text="a")})
        assert (refused.status, refused.codes) == (422, {"WORKFLOW_INVALID"})
