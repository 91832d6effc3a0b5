"""What is sent: a line of a component's log with two times in it; for peers, the message that a hub makes of it."""

from __future__ import annotations

import time
from typing import Any, Final

MARK: Final = b"<^>"
_DIGITS: Final = 20
STAMP: Final = len(MARK) + 2 * _DIGITS + 1
_ID: Final = "01K9ZJ4M0VQ8T2M6T4W2J5C7RB"


def now() -> int:
    """Nanoseconds of CLOCK_MONOTONIC, which all processes of a machine share."""
    return time.monotonic_ns()


def line(due: int) -> str:
    """When it was due, when it is handed over (now), and words. A timer may have come a little early."""
    called = now()
    return f"{MARK.decode()}{min(due, called):0{_DIGITS}} {called:0{_DIGITS}} {'words ' * 8}"


def times(text: bytes | bytearray, at: int) -> tuple[int, int]:
    """When a message was due and when it was handed over, from where its mark stands."""
    due = at + len(MARK)
    called = due + _DIGITS + 1
    return int(text[due : called - 1]), int(text[called : called + _DIGITS])


def message(due: int) -> dict[str, Any]:
    """As a subscriber of a hub gets it."""
    return {
        "type": "log",
        "id": _ID,
        "timestamp": "2026-11-21T22:24:48.123Z",
        "channel": f"workflow:{_ID}",
        "position": 12345,
        "data": {"execution_id": _ID, "component_id": None, "level": "info", "message": line(due), "metadata": None},
    }
