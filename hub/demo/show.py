"""The demo itself: does the main job, prints what happens, and checks each claim against what was really seen."""

from __future__ import annotations

import asyncio
import json
import sys
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass, field
from typing import Any

import aiohttp
import websockets
from rich.console import Console
from rich.panel import Panel
from rich.table import Table
from websockets.asyncio.client import connect

from hub.demo.hub import DemoFailed, DemoHub, fresh_hub
from hub.demo.receiver import Receiver
from hub.demo.story import STEPS, definition

_PATIENCE_SECONDS = 30
_QUANTITY = 3
_TOTAL = 127.5
_MARKS = {"execution_update": "●", "component_completed": "✓", "error": "✗", "log": "✎"}
_COLOURS = {"execution_update": "cyan", "component_completed": "green", "error": "yellow", "log": "magenta"}


@dataclass
class Story:
    """What was seen so far, and what was claimed of it."""

    hub: DemoHub
    receiver: Receiver
    console: Console
    workflow_id: str = ""
    execution_id: str = ""
    webhook_id: str = ""
    live: list[dict[str, Any]] = field(default_factory=list)
    raw: list[str] = field(default_factory=list)
    checks: list[tuple[str, bool]] = field(default_factory=list)

    def check(self, claim: str, is_true: bool) -> None:
        self.checks.append((claim, is_true))
        self.console.print(f"  [{'green' if is_true else 'bold red'}]{'✔' if is_true else '✘'} {claim}[/]")

    def heading(self, text: str) -> None:
        self.console.print(f"\n[bold]{text}[/]")


async def run(keep: bool = False) -> int:
    """Exit code 0 only if every claim was seen to be true."""
    console = Console()
    console.print(Panel.fit("[bold]Runcast[/] — one workflow, one log, cast everywhere", border_style="cyan"))
    try:
        async with asyncio.timeout(120), Receiver() as receiver, fresh_hub(keep) as hub:
            console.print(f"a fresh hub listens on [cyan]{hub.url}[/]")
            story = Story(hub, receiver, console)
            for chapter in CHAPTERS:
                await chapter(story)
            if keep:
                console.print(f"\nthe data directory is kept: {hub.data_dir}")
    except (DemoFailed, OSError, TimeoutError, aiohttp.ClientError, websockets.WebSocketException) as error:
        console.print(f"\n[bold red]the demo stopped: {str(error) or type(error).__name__}[/]")
        return 1
    return _verdict(story)


def _verdict(story: Story) -> int:
    wrong = [claim for claim, is_true in story.checks if not is_true]
    if wrong or not story.checks:
        story.console.print(f"\n[bold red]{len(wrong)} of {len(story.checks)} claims did not hold[/]")
        return 1
    story.console.print(f"\n[bold green]all {len(story.checks)} claims were seen to hold[/]")
    return 0


async def _create(story: Story) -> None:
    story.heading("1. A workflow: fork, join, choice, retry, wait")
    for id, what in STEPS.items():
        story.console.print(f"   [bold]{id:<9}[/] {what}")
    created = await story.hub.call(
        "POST", "/workflows", {"name": "demo order", "definition": definition(story.receiver.url)}
    )
    story.workflow_id = created["id"]
    report = await story.hub.call("POST", f"/workflows/{created['id']}/validate")
    story.check("the workflow is stored, and valid", report["is_valid"] and created["version"] == 1)


async def _register(story: Story) -> None:
    story.heading("2. A webhook for what happens to its executions")
    webhook = await story.hub.call(
        "POST",
        "/webhooks",
        {"url": f"{story.receiver.url}/hook", "events": ["execution.*", "component.retry_scheduled"]},
    )
    story.webhook_id, story.receiver.secret = webhook["id"], webhook["secret"]
    shown = await story.hub.call("GET", f"/webhooks/{webhook['id']}")
    story.check("its secret was shown once and is not shown again", "secret" not in shown)


async def _watch(story: Story) -> None:
    story.heading("3. It runs, and a subscriber that goes away in the middle misses nothing")
    started = await story.hub.call(
        "POST", f"/workflows/{story.workflow_id}/execute", {"parameters": {"quantity": _QUANTITY}}
    )
    story.execution_id = started["execution_id"]
    async with asyncio.timeout(_PATIENCE_SECONDS):
        async for message in _messages(story, since=0):
            if message["type"] == "error":
                break
        left_at = story.live[-1]["position"]
        story.console.print(f"   [dim]… the subscriber is cut off at position {left_at}, and comes back …[/]")
        while not await _has_ended(story):
            await asyncio.sleep(0.05)
        async for message in _messages(story, since=left_at):
            if message["data"].get("status") == "completed" and message["type"] == "execution_update":
                break
    positions = [message["position"] for message in story.live]
    story.check("the positions it saw only rise: nothing came twice", positions == sorted(set(positions)))
    story.check("the execution completed", story.live[-1]["data"]["status"] == "completed")


async def _has_ended(story: Story) -> bool:
    execution = await story.hub.call("GET", f"/executions/{story.execution_id}")
    return execution["status"] in ("completed", "failed", "cancelled")


async def _messages(story: Story, since: int) -> AsyncIterator[dict[str, Any]]:
    """The messages of the execution's channel after a position, as they come; each is kept and printed."""
    async for raw in _subscribed(story, since):
        message = json.loads(raw)
        story.live.append(message)
        story.raw.append(raw)
        _print(story.console, message)
        yield message


async def _subscribed(story: Story, since: int) -> AsyncIterator[str]:
    headers = {"X-API-Key": story.hub.api_key}
    async with connect(story.hub.socket_url, additional_headers=headers) as socket:
        wish = {"channel": "execution", "execution_id": story.execution_id, "since": since}
        await socket.send(json.dumps({"type": "subscribe", "id": "1", "data": wish}))
        async for raw in socket:
            text = raw if isinstance(raw, str) else raw.decode()
            if "channel" in (message := json.loads(text)):
                yield text
            elif message["type"] == "error":
                raise DemoFailed(f"the subscription was refused: {message['data']['message']}")


def _print(console: Console, message: dict[str, Any]) -> None:
    data, kind = message["data"], message["type"]
    progress = data.get("progress") or {}
    what = data.get("component_id") or progress.get("current_component") or ""
    detail = data.get("error") or data.get("message") or data.get("status") or ""
    percentage = f"{progress['percentage']:>3} %" if progress else "     "
    mark, colour = _MARKS.get(kind, "·"), _COLOURS.get(kind, "white")
    console.print(
        f"   [dim]{message['position']:>4}[/] [{colour}]{mark} {kind:<19}[/] {percentage} {what:<9} {detail}",
        highlight=False,
    )


async def _deliveries(story: Story) -> None:
    story.heading("4. The webhook's requests, verified by the receiver")
    async with asyncio.timeout(_PATIENCE_SECONDS):
        while not any(delivered.event == "execution.completed" for delivered in story.receiver.delivered):
            story.receiver.arrived.clear()
            await story.receiver.arrived.wait()
        while any(d["status"] != "succeeded" for d in await _listed(story)):
            await asyncio.sleep(0.05)
    for delivered in story.receiver.delivered:
        seal = "[green]signature verified[/]" if delivered.is_verified else "[red]signature wrong[/]"
        story.console.print(f"   [dim]{delivered.position:>4}[/] {delivered.event:<26} {seal}")
    story.check("every signature verified, both kinds", all(d.is_verified for d in story.receiver.delivered))
    listed = await _listed(story)
    story.check(
        f"the hub shows its {len(listed)} deliveries with their attempts", all(len(d["attempts"]) > 0 for d in listed)
    )
    keys = story.receiver.price_keys
    story.check(
        "the failed call was tried again under the same Idempotency-Key", len(keys) == 2 and len(set(keys)) == 1
    )


async def _listed(story: Story) -> list[dict[str, Any]]:
    listed: list[dict[str, Any]] = await story.hub.call("GET", f"/webhooks/{story.webhook_id}/deliveries")
    return listed


async def _state(story: Story) -> None:
    story.heading("5. What REST says now")
    execution = await story.hub.call("GET", f"/executions/{story.execution_id}")
    components = await story.hub.call("GET", f"/executions/{story.execution_id}/components")
    table = Table("component", "status", "attempt", "seconds")
    for component in components:
        seconds = component["duration_seconds"]
        table.add_row(
            component["component_id"],
            component["status"],
            str(component["attempt"]),
            "" if seconds is None else f"{seconds:.3f}",
        )
    story.console.print(table)
    by_id = {component["component_id"]: component for component in components}
    story.check(f"the result is right: {execution['results']}", execution["results"].get("total") == _TOTAL)
    story.check("the branch that was not taken was skipped", by_id["ship_now"]["status"] == "skipped")
    story.check("the component that failed once shows two attempts", by_id["price"]["attempt"] == 2)
    lines = await story.hub.call("GET", f"/executions/{story.execution_id}/logs")
    story.check("its log has the line", any("3 pieces" in line["message"] for line in lines))


async def _replay(story: Story) -> None:
    story.heading("6. The log, read again from position 0")
    again = []
    async with asyncio.timeout(_PATIENCE_SECONDS):
        async for raw in _subscribed(story, since=0):
            again.append(raw)
            if len(again) == len(story.raw):
                break
    story.check(f"a new subscriber gets the same {len(again)} messages, byte for byte", again == story.raw)
    history = await story.hub.call("GET", f"/executions/{story.execution_id}/history?limit=1000")
    story.check(
        f"each of them is one of the {len(history)} events of the execution",
        {message["position"] for message in story.live} <= {event["position"] for event in history},
    )
    process = await asyncio.create_subprocess_exec(
        *_verify_command(story), stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.STDOUT
    )
    output, _ = await process.communicate()
    story.console.print(f"   [dim]$ runcast events verify[/]\n   {output.decode().strip()}")
    story.check("the chain of hashes is unbroken", process.returncode == 0)


def _verify_command(story: Story) -> list[str]:
    return [sys.executable, "-m", "hub.cli", "events", "verify", "--data-dir", str(story.hub.data_dir)]


CHAPTERS: tuple[Callable[[Story], Awaitable[None]], ...] = (_create, _register, _watch, _deliveries, _state, _replay)
