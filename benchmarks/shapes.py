"""Definitions of every size that benchmarks of the engine run."""

from __future__ import annotations

from collections.abc import Callable
from itertools import pairwise
from typing import Any, Final

Raw = dict[str, Any]


def sequence(count: int, type: str) -> Raw:
    """`count` steps of a type, each after the one before."""
    ids = ["start", *(f"step{number}" for number in range(count))]
    steps = [{"id": id, "type": type, "config": _config(type, at)} for at, id in enumerate(ids[1:])]
    links = [{"source": source, "target": target} for source, target in pairwise(ids)]
    return {"components": [{"id": "start", "type": "start"}, *steps], "connections": links}


def looping(count: int) -> Raw:
    """A loop over `count` items, one at a time, with a body of one step."""
    body = {"components": [{"id": "step", "type": "timed", "config": {"number": "${item}"}}], "connections": []}
    config = {"items": list(range(count)), "body": body}
    return {
        "components": [{"id": "start", "type": "start"}, {"id": "each", "type": "loop", "config": config}],
        "connections": [{"source": "start", "target": "each"}],
    }


def fan(count: int) -> Raw:
    """`count` branches of one step between a start and an end."""
    ids = [f"branch{number}" for number in range(count)]
    branches = [{"id": id, "type": "timed", "config": _config("timed", at)} for at, id in enumerate(ids)]
    return {
        "components": [{"id": "start", "type": "start"}, *branches, {"id": "end", "type": "end"}],
        "connections": [
            *({"source": "start", "target": id} for id in ids),
            *({"source": id, "target": "end"} for id in ids),
        ],
    }


def waiting() -> Raw:
    """Waits for a signal that never comes."""
    return {
        "components": [
            {"id": "start", "type": "start"},
            {"id": "wait", "type": "wait", "config": {"signal": "approved"}},
        ],
        "connections": [{"source": "start", "target": "wait"}],
    }


def _config(type: str, number: int) -> Raw:
    return {"number": number} if type == "timed" else {"output": {"number": number, "is_done": True}}


LONG: Final[dict[str, Callable[[int], Raw]]] = {
    "sequence": lambda count: sequence(count, "timed"),
    "loop": looping,
}
"""Runs of many timed steps, one after the other."""
