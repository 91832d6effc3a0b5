"""What `runcast tail` does. Imported only when it is called."""

from __future__ import annotations

import asyncio
import logging
import signal
import sys
from typing import Any, Final

import msgspec
from rich.console import Console
from rich.text import Text

from hub.client import Message, WorkflowClient

_COLOURS: Final = {
    "completed": "green",
    "failed": "red",
    "error": "red",
    "cancelled": "yellow",
    "terminated": "yellow",
    "gap": "yellow",
    "warning": "yellow",
}
_logger = logging.getLogger("hub.client")


async def follow(
    url: str,
    api_key: str,
    kind: str,
    keys: dict[str, str],
    *,
    since: int | None,
    types: str | None,
    filter: str | None,
) -> None:
    """Prints a channel's messages until it ends, or somebody ends this. Raises `ClientError`, `BrokenPipeError`."""
    heed_ends(asyncio.current_task())
    _tell_of_cuts()
    try:
        async with WorkflowClient(url, api_key) as client:
            # The first request says at once, and in words, what is wrong with an address or a key.
            await client.me()
            subscription = client.subscribe(kind, **keys, since=since, types=types, filter=filter)
            async with subscription:
                if sys.stderr.isatty():
                    where = f"{subscription.channel} of {url} from position {subscription.position}"
                    sys.stderr.write(f"following {where}; Ctrl-C ends it\n")
                show = _shown_to_people() if sys.stdout.isatty() else _show_to_programs
                async for message in subscription:
                    show(message)
    except asyncio.CancelledError:
        return


def heed_ends(task: asyncio.Task[Any] | None) -> None:
    """Ctrl-C and SIGTERM are how it is meant to end."""
    assert task is not None
    for number in (signal.SIGINT, signal.SIGTERM):
        asyncio.get_running_loop().add_signal_handler(number, cancel_once, task)


def cancel_once(task: asyncio.Task[Any]) -> None:
    """The impatient, who press Ctrl-C again, do not interrupt what the first one began."""
    if not task.cancelling():
        task.cancel()


def _tell_of_cuts() -> None:
    """People see at once that the hub is away; for programs only what lasts is worth a line."""
    handler = logging.StreamHandler()
    handler.setFormatter(logging.Formatter("runcast: %(message)s"))
    handler.setLevel(logging.INFO if sys.stderr.isatty() else logging.WARNING)
    _logger.handlers, _logger.propagate = [handler], False
    _logger.setLevel(handler.level)


def _show_to_programs(message: Message) -> None:
    """As the hub said it: a line, at once."""
    fields = msgspec.structs.asdict(message)
    said = {name: value for name, value in fields.items() if value is not None}
    sys.stdout.write(msgspec.json.encode(said).decode() + "\n")
    sys.stdout.flush()


def _shown_to_people() -> Any:
    console = Console(highlight=False, soft_wrap=True)

    def show(message: Message) -> None:
        what, detail = _in_words(message)
        colour = next((_COLOURS[word] for word in (message.type, *what.split(".")) if word in _COLOURS), "")
        position = "" if message.position is None else str(message.position)
        line = Text(f"{position:>8}  {message.timestamp}  ")
        line.append(f"{plain(what):<26} ", colour)
        line.append(plain(detail))
        console.print(line)

    return show


def _in_words(message: Message) -> tuple[str, str]:
    """What happened, and to what."""
    data, channel = message.data, message.channel or ""
    match message.type:
        case "event":
            said = data.get("data") or {}
            name = said.get("component_id") or said.get("workflow_name") or said.get("name")
            return str(data.get("type")), _joined(data.get("stream"), name)
        case "execution_update":
            percentage = (data.get("progress") or {}).get("percentage")
            current = (data.get("progress") or {}).get("current_component")
            return f"execution.{data.get('status')}", _joined(channel, f"{percentage} %", current)
        case "component_completed":
            return f"component.{data.get('status')}", _joined(channel, data.get("component_id"))
        case "error":
            word = "component.failed" if data.get("final") else "component.retry"
            return word, _joined(channel, data.get("component_id"), data.get("error"))
        case "log":
            return f"log.{data.get('level')}", _joined(channel, data.get("component_id"), data.get("message"))
        case "task_update":
            return str(data.get("event")), _joined(channel, data.get("title"), data.get("assignee"))
        case "workflow_update":
            return str(data.get("event")), _joined(channel, data.get("name"))
        case "gap":
            return "gap", f"what follows does not join what came before: {data.get('reason')}"
        case _:
            return message.type, _joined(channel, data.get("event"), data.get("message"), data.get("status"))


def _joined(*parts: Any) -> str:
    return "  ".join(str(part) for part in parts if part not in (None, ""))


def plain(text: str) -> str:
    """What others wrote cannot move the cursor or colour the terminal."""
    return "".join(char if char.isprintable() else " " for char in text)
