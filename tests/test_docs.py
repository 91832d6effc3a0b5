"""What the documentation says is so: its blocks run, its lists are whole, its links lead somewhere."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import re
import runpy
import shutil
import socket
import sys
import time
import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import aiohttp
import msgspec
import pytest
import typer
from typer.main import get_command

from executor.components.registry import Registry
from executor.definitions.validate import examine
from executor.domain.events import CATALOGUE
from executor.domain.events.template import Template
from hub.auth.permissions import PERMISSIONS, ROLES
from hub.catalog import check
from hub.cli import app
from hub.settings import PREFIX, VERSION, Settings
from hub.valkey import EmbeddedValkey
from tests.integration.hubs import ROOT, Client, environment, until, up
from tests.integration.receiving import Receiver, receiving
from webhooks import signing

README = ROOT / "README.md"
PAGES = sorted([README, ROOT / "CHANGELOG.md", *(ROOT / "docs").glob("*.md")])
FENCE = re.compile(r"^(?:<!-- (\w+) -->\n)?```(\w+)\n(.*?)^```$", re.MULTILINE | re.DOTALL)


class Block(NamedTuple):
    page: Path
    line: int
    language: str
    text: str
    mark: str | None
    """Which of the tests below runs it."""


def blocks() -> Iterator[Block]:
    for page in PAGES:
        text = page.read_text()
        for match in FENCE.finditer(text):
            yield Block(page, text.count("\n", 0, match.start()) + 1, match[2], match[3], match[1])


def of(language: str) -> list[Any]:
    return [
        pytest.param(block, id=f"{block.page.name}:{block.line}") for block in blocks() if block.language == language
    ]


def values(text: str) -> Iterator[Any]:
    """The JSON values that a block holds, one after another."""
    decoder, text = json.JSONDecoder(), text.strip()
    while text:
        value, end = decoder.raw_decode(text)
        yield value
        text = text[end:].strip()


@pytest.mark.parametrize("block", of("json"))
def test_json_parses_and_definitions_are_valid(block: Block) -> None:
    for value in values(block.text):
        if isinstance(value, dict) and value.keys() & {"components", "blocks", "steps"}:
            report = examine(value, Registry())[1]
            assert report.is_valid, report.errors
        if isinstance(value, dict) and "workflow_definition" in value:
            check(msgspec.convert(value, Template), Registry())


@pytest.mark.parametrize("block", of("toml"))
def test_toml_parses(block: Block) -> None:
    assert tomllib.loads(block.text)


@pytest.mark.parametrize("block", of("python"))
def test_python_runs_and_what_verifies_signatures_does(block: Block) -> None:
    names: dict[str, Any] = {}
    exec(compile(block.text, f"{block.page.name}:{block.line}", "exec", dont_inherit=True), names)
    if "is_genuine" not in names:
        return
    body, secret = b'{"event": "execution.completed"}', "whsec_" + "c2VjcmV0" * 4
    headers = signing.headers(
        message_id="01ARZ3NDEKTSV4RRFFQ69G5FAV",
        delivery_id="01ARZ3NDEKTSV4RRFFQ69G5FAV",
        event="execution.completed",
        attempt=1,
        timestamp=int(time.time()),
        body=body,
        secrets=(secret,),
    )
    given = headers["X-Webhook-Signature"] if "X-Webhook-Signature" in block.text else headers
    assert names["is_genuine"](body, given, secret)
    assert not names["is_genuine"](body + b" ", given, secret)
    assert not names["is_genuine"](body, given, "another secret")


@pytest.mark.parametrize("block", of("bash"))
def test_every_shell_block_parses(block: Block) -> None:
    bash = shutil.which("bash")
    assert bash is not None
    assert os.spawnv(os.P_WAIT, bash, [bash, "-n", "-c", block.text]) == 0


def free_port() -> int:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        return int(taken.getsockname()[1])


def script_of(mark: str) -> str:
    """The README's blocks with a mark, in order."""
    script = "\n".join(block.text for block in blocks() if block.page == README and block.mark == mark)
    assert script, f"no block of the README is marked {mark}"
    return script


def shell(here: Path, script: str) -> tuple[str, ...]:
    """What runs it with our `python3` and `runcast`, and ends with whatever it has started."""
    tools = here / "tools"
    tools.mkdir()
    for name, arguments in (("python3", ""), ("runcast", "-m hub.cli")):
        wrapper = tools / name
        wrapper.write_text(f'#!/bin/sh\nexec "{sys.executable}" {arguments} "$@"\n')
        wrapper.chmod(0o755)
    ending = "trap 'kill $(jobs -p) 2>/dev/null || true; wait' EXIT; trap 'exit 0' TERM"
    return ("bash", "-c", f'set -euo pipefail\nPATH="{tools}:$PATH"\n{ending}\n{script}')


@pytest.mark.skipif(shutil.which("curl") is None, reason="the README's blocks call curl, which is not installed")
async def test_the_readme_runs_from_its_first_line_to_its_last(tmp_path: Path) -> None:
    """Its marked blocks, in order, in one shell beside a fresh hub; only the receiver's port is another."""
    script = script_of("test").replace("9000", str(free_port()))
    here = tmp_path / "here"
    here.mkdir()
    (here / "examples").symlink_to(ROOT / "examples")
    async with up(here / "runcast-data") as hub:
        process = await asyncio.create_subprocess_exec(
            *shell(here, script),
            cwd=here,
            env=environment(URL=hub.url, API_KEY=hub.key),
            stdin=asyncio.subprocess.DEVNULL,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.STDOUT,
        )
        try:
            async with asyncio.timeout(120):
                output, _ = await process.communicate()
        finally:
            if process.returncode is None:
                process.kill()
                await process.wait()
        assert process.returncode == 0, output.decode()
        assert await hub.stop() == 0


async def test_the_readme_runs_on_several_machines(tmp_path: Path, postgres_url: str) -> None:
    """As written, but for the addresses: then a client has its execution run and its webhook arrive."""
    port, valkey = free_port(), EmbeddedValkey(tmp_path)
    script = script_of("machines")
    for written, meant in (
        ("postgresql://runcast:password@db.example.com/runcast", f"'{postgres_url}'"),
        ("redis://redis.example.com:6379", valkey.url),
        ("0.0.0.0 --port 8000", f"127.0.0.1 --port {port}"),
    ):
        assert written in script
        script = script.replace(written, meant)
    await valkey.start()
    process = await asyncio.create_subprocess_exec(
        *shell(tmp_path, f"{script}\nwait"),
        cwd=tmp_path,
        env=environment(EGRESS_ALLOW="127.0.0.1"),
        stdin=asyncio.subprocess.DEVNULL,
        stdout=asyncio.subprocess.DEVNULL,
    )
    try:
        async with aiohttp.ClientSession() as http, receiving() as receiver:
            client = Client(f"http://127.0.0.1:{port}", http, None)
            await until(lambda: is_healthy(client))
            client.key = json.loads((tmp_path / "runcast-data/credentials.json").read_text())["api_key"]
            await client.webhook(receiver.url, "execution.completed")
            await client.ended(await client.execution((await client.workflow())["id"]))
            await until(lambda: has_arrived(receiver))
    finally:
        with contextlib.suppress(ProcessLookupError):
            process.terminate()
        await process.wait()
        await valkey.stop()


async def is_healthy(client: Client) -> bool:
    with contextlib.suppress(aiohttp.ClientError):
        return bool((await client.get("/health", prefix="")).data["status"] == "healthy")
    return False


async def has_arrived(receiver: Receiver) -> bool:
    return receiver.events() == ["execution.completed"]


def test_every_setting_is_on_its_page_and_no_other() -> None:
    text = (ROOT / "docs/configuration.md").read_text()
    listed = set(re.findall(rf"^\| `{PREFIX}([A-Z_]+)`", text, re.MULTILINE))
    assert listed == {name.upper() for name in Settings.__struct_fields__ if name not in ("data_dir", "take_over")}
    assert "--data-dir" in text


def commands(group: typer.core.TyperGroup, path: str = "runcast") -> Iterator[tuple[str, Any]]:
    for name, command in group.commands.items():
        if hasattr(command, "commands"):
            yield from commands(command, f"{path} {name}")
        else:
            yield f"{path} {name}", command


def test_every_command_and_every_option_is_on_its_page() -> None:
    text = (ROOT / "docs/command.md").read_text()
    found = dict(commands(get_command(app)))  # type: ignore[arg-type]
    assert set(found) >= {"runcast up", "runcast demo", "runcast events verify", "runcast keys create"}
    for name, command in found.items():
        assert name in text or f"`{name.rpartition(' ')[2]}`" in text, name
        for parameter in command.params:
            for option in parameter.opts:
                assert option == "--help" or option in text, f"{name} {option}"


def test_every_role_and_kind_of_permission_is_on_its_page() -> None:
    text = (ROOT / "docs/command.md").read_text()
    for role in ROLES:
        assert f"`{role}`" in text
    for permission in PERMISSIONS:
        resource, _, verb = permission.partition(".")
        assert permission in text or (re.search(rf"`[\w ]*\b{resource}\b[\w ]*`", text) and f"`{verb}`" in text)


def test_every_component_type_is_on_its_page() -> None:
    text = (ROOT / "docs/workflows.md").read_text()
    for component in Registry().values():
        assert f"`{component.type}`" in text, component.type
        for name in component.config_schema["properties"]:
            assert f"`{name}`" in text, f"{component.type}.{name}"


def test_no_page_names_an_event_that_there_is_not() -> None:
    kinds = {type.partition(".")[0] for type in CATALOGUE}
    for page in PAGES:
        for name in re.findall(r"`([a-z]+\.[a-z_]+)`", page.read_text()):
            if name.partition(".")[0] in kinds and name not in PERMISSIONS and not name.endswith(".py"):
                assert name in CATALOGUE or name == "webhook.test", f"{page.name}: {name}"


def test_links_between_pages_lead_somewhere() -> None:
    for page in PAGES:
        for target in re.findall(r"\]\(([^)#]+)(?:#[^)]*)?\)", page.read_text()):
            if "://" not in target:
                assert (page.parent / target).exists(), f"{page.name}: {target}"


def test_the_newest_version_of_the_changelog_is_this_one() -> None:
    newest = re.search(r"^## \[?(\d+\.\d+\.\d+)", (ROOT / "CHANGELOG.md").read_text(), re.MULTILINE)
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    assert newest is not None
    assert newest[1] == project["version"] == VERSION


@pytest.mark.parametrize("name", ["agent_chain.py", "approval.py", "etl.py", "watch.py"])
def test_an_example_that_does_not_know_the_hub_says_what_to_set(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("RUNCAST_URL", raising=False)
    with pytest.raises(SystemExit, match="set RUNCAST_URL and RUNCAST_API_KEY"):
        runpy.run_path(str(ROOT / "examples" / name), run_name="__main__")
