"""A webhook request that arrived: what is told of it, to people and to programs. Nothing of a secret is in that."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime
from typing import Any, Final

import msgspec
from msgspec import Struct
from rich.console import Console
from rich.highlighter import JSONHighlighter
from rich.text import Text

from executor.domain.values import instant
from hub.commands.following import plain
from webhooks.verification import VerificationError, verify

_MARKS: Final = {True: ("✓", "green"), False: ("✗", "red"), None: ("?", "yellow")}


class Arrived(Struct, frozen=True, kw_only=True):
    """`is_verified` is null where there was no secret to verify it with, `problem` says what is wrong. `body` is
    parsed where it is JSON, else text. `answered` is the status. `event`, `id` (`webhook-id`), `delivery`, `attempt`
    and `replay` are what the headers say."""

    received_at: str
    path: str
    event: str | None
    id: str | None
    delivery: str | None
    attempt: str | None
    replay: str | None
    is_verified: bool | None
    problem: str | None
    answered: int
    body: Any


Show = Callable[[Arrived], None]


def arrived_of(path: str, headers: Mapping[str, str], body: bytes, secrets: Sequence[str], answered: int) -> Arrived:
    is_verified, problem = judged(body, headers, secrets)
    return Arrived(
        received_at=instant(datetime.now(UTC)),
        path=path,
        event=headers.get("X-Webhook-Event"),
        id=headers.get("webhook-id"),
        delivery=headers.get("X-Webhook-Delivery"),
        attempt=headers.get("X-Webhook-Attempt"),
        replay=headers.get("X-Webhook-Replay"),
        is_verified=is_verified,
        problem=problem,
        answered=answered,
        body=_parsed(body),
    )


def judged(body: bytes, headers: Mapping[str, str], secrets: Sequence[str]) -> tuple[bool | None, str | None]:
    """Is it genuine, and why not. The secrets are known to be some."""
    if not secrets:
        return None, "there is no secret to verify it with"
    try:
        verify(body, headers, secrets)
    except VerificationError as error:
        return False, str(error)
    except (ValueError, RecursionError):
        pass  # It is genuine, and no JSON.
    return True, None


def shown(*, as_json: bool) -> Show:
    """How it is printed. Raises `BrokenPipeError` where nobody reads any more."""
    if as_json:
        return _show_to_programs
    return _shown_on_terminals() if sys.stdout.isatty() else lambda arrived: _write(in_words(arrived).plain)


def in_words(arrived: Arrived) -> Text:
    """A line that says what it is, and below it the body."""
    mark, colour = _MARKS[arrived.is_verified]
    line = Text(f"{arrived.received_at[11:19]}  ")
    line.append(f"{mark} {plain(arrived.event or 'no event')}", f"bold {colour}")
    about = {
        "webhook-id": arrived.id,
        "attempt": arrived.attempt,
        "replay": arrived.replay,
        "path": None if arrived.path == "/" else arrived.path,
        "answered": str(arrived.answered),
    }
    line.append("".join(f"  {name} {plain(value)}" for name, value in about.items() if value is not None))
    if arrived.problem is not None:
        line.append(f"\n          {plain(arrived.problem)}", colour)
    return line.append_text(_body(arrived.body))


def _body(body: Any) -> Text:
    text = body if isinstance(body, str) else json.dumps(body, indent=2, ensure_ascii=False)
    lines = "".join(f"\n{plain(line)}" for line in text.splitlines())
    return JSONHighlighter()(Text(lines))


def _shown_on_terminals() -> Show:
    console = Console(highlight=False, soft_wrap=True)
    return lambda arrived: console.print(in_words(arrived), end="\n\n")


def _show_to_programs(arrived: Arrived) -> None:
    _write(json.dumps(msgspec.structs.asdict(arrived)))


def _write(text: str) -> None:
    sys.stdout.write(text + "\n")
    sys.stdout.flush()


def _parsed(body: bytes) -> Any:
    try:
        return json.loads(body)
    except (ValueError, RecursionError):
        return body.decode(errors="replace")
