"""The main job, as a stranger sees it: one command, and everything that it claims really happened."""

from __future__ import annotations

import asyncio
import os
import re
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from executor.domain.events import CATALOGUE
from tests.integration.hubs import COMMAND, environment


@pytest.fixture
def scratch() -> Iterator[Path]:
    """A short path, for what looks for a temporary directory."""
    with tempfile.TemporaryDirectory(prefix="runcast-test-") as path:
        yield Path(path)


async def demo(scratch: Path, *options: str) -> tuple[int, str]:
    process = await asyncio.create_subprocess_exec(
        *COMMAND,
        *("demo", *options),
        env=environment() | {"TMPDIR": str(scratch), "COLUMNS": "200"},
        stdin=asyncio.subprocess.DEVNULL,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
    )
    async with asyncio.timeout(120):
        output, _ = await process.communicate()
    return process.returncode or 0, output.decode()


def processes_of(path: Path) -> list[str]:
    """The command lines of all processes that name a path."""
    lines = []
    for file in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            line = file.read_bytes().replace(b"\0", b" ").decode(errors="replace")
        except OSError:
            continue
        if str(path) in line:
            lines.append(line)
    return lines


async def test_the_demo_does_the_main_job_and_leaves_nothing_behind(scratch: Path) -> None:
    code, output = await demo(scratch)
    assert code == 0, output
    claims = re.findall(r"^  ✔ (.+)$", output, re.MULTILINE)
    assert f"all {len(claims)} claims were seen to hold" in output
    assert "✘" not in output
    for word in ("valid", "secret", "nothing came twice", "signature", "Idempotency-Key", "byte for byte", "hashes"):
        assert any(word in claim for claim in claims), word
    for type in ("execution.created", "component.retry_scheduled", "execution.completed"):
        assert type in CATALOGUE
        assert type in output
    assert os.listdir(scratch) == []
    assert processes_of(scratch) == []


async def test_the_demo_keeps_its_data_where_it_is_asked_to(scratch: Path) -> None:
    code, output = await demo(scratch, "--keep")
    assert code == 0, output
    (name,) = os.listdir(scratch)
    kept = scratch / name
    assert str(kept) in output
    assert (kept / "runcast.db").exists()
    assert processes_of(scratch) == []
