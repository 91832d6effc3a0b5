"""The conditions of subscriptions: CEL over an event, as anybody may see it.

A condition sees `event`, the whole event as `GET /events` shows it, and `data`, its data; but of the data a field
is not there whose JSON is longer than 4 KiB or has more than 256 items. What errs (a field that is not there) does
not hold. Each is evaluated once for an event, however many subscriptions have it.

Conditions are evaluated on the loop, for each event: so what one may cost is bounded beforehand, to a third of a
millisecond. What costs more, over an event of many items, does not hold either; and `matches` (a regular
expression of 40 characters may take 40 ms), `map` and `filter` (which copy a list for each item) are refused.
"""

from __future__ import annotations

import re
from functools import lru_cache
from typing import Any, Final, NamedTuple

import msgspec
from msgspec import Raw

from executor.domain.secrets import redact_json
from executor.expressions import ExpressionError, Scope, check, evaluate, measured
from executor.ports import Recorded
from hub.messages import event_json

VARIABLES: Final = ("event", "data")
MOST_CHARACTERS: Final = 512
_MOST_FIELD_BYTES: Final = 4096
_MOST_ITEMS: Final = 256
_MOST_COST: Final = 50_000
"""In units of 10 ns: a character of a text that is looked through is one."""
_ITEM_COST: Final = 6
_TURN_COST: Final = 20
_REFUSED: Final = re.compile(r"\.\s*(matches|map|filter|transformList|transformMap)\s*\(|\b(matches)\s*\(")
_LOOP: Final = re.compile(r"\.\s*(?:all|exists|exists_one|existsOne)\s*\(")
_OPERATION: Final = re.compile(r"[(+*/%<>?,\[{-]|==|!=|&&|\|\||\bin\b")
_TEXT: Final = re.compile(
    r"""//[^\n]*"""
    r"""|[bB]?[rR](?:'''[\s\S]*?'''|\"{3}[\s\S]*?\"{3}|'[^'\n\r]*'|"[^"\n\r]*")"""
    r"""|'''(?:\\[\s\S]|[^\\])*?'''|\"{3}(?:\\[\s\S]|[^\\])*?\"{3}"""
    r"""|'(?:\\.|[^'\\\n\r])*'|"(?:\\.|[^"\\\n\r])*\""""
)
"""A comment, or a text as CEL writes it: what is in one is no part of the expression."""
_VARIABLE: Final = re.compile(r"\b(?:event|data)\b")
_fields: Final = msgspec.json.Decoder(dict[str, Raw]).decode


def require_condition(text: str) -> None:
    """Raises `ExpressionError` for what does not parse, cannot be true or false, or may cost too much. May take some
    milliseconds itself."""
    if len(text) > MOST_CHARACTERS:
        raise ExpressionError(f"the condition is longer than {MOST_CHARACTERS} characters")
    if (refused := _REFUSED.search(text)) is not None:
        name = refused[1] or refused[2]
        raise ExpressionError(
            f"'{name}' costs too much for a filter; there are contains, startsWith, exists, all, in"
        )
    check(text, VARIABLES, is_condition=True)


class Seen:
    """An event as conditions see it: decoded when the first one asks."""

    __slots__ = ("_answers", "_items", "_longest", "_recorded", "_scope")

    def __init__(self, recorded: Recorded) -> None:
        self._recorded = recorded
        self._scope: Scope | None = None
        self._longest = self._items = 0
        self._answers: dict[str, bool] = {}

    def satisfies(self, condition: str) -> bool:
        answer = self._answers.get(condition)
        if answer is None:
            answer = self._answers[condition] = self._evaluated(condition)
        return answer

    def _evaluated(self, condition: str) -> bool:
        try:
            scope = self._scope or self._read()
            if _cost(condition, self._longest, self._items) > _MOST_COST:
                return False
            return evaluate(condition, scope) is True
        except (ExpressionError, msgspec.DecodeError):
            return False

    def _read(self) -> Scope:
        data = _shown(self._recorded.data)
        self._longest, self._items = measured(data)
        event: dict[str, Any] = msgspec.json.decode(event_json(msgspec.structs.replace(self._recorded, data=b"")))
        if self._recorded.data:
            del event["archived"]
        scope = self._scope = Scope({"event": event | {"data": data}, "data": data}, VARIABLES)
        return scope


def _shown(data: bytes) -> dict[str, Any] | None:
    """What conditions see of an event's data; null where that was archived."""
    if not data:
        return None
    shown: dict[str, Any] = {}
    for name, raw in _fields(redact_json(data)).items():
        if len(raw) <= _MOST_FIELD_BYTES:
            value = msgspec.json.decode(raw)
            if measured(value)[1] <= _MOST_ITEMS:
                shown[name] = value
    return shown


class _Shape(NamedTuple):
    """What a condition consists of: its operations (and commas, which part its own items), its loops, how deep they
    are in each other, and whether one of them looks at a variable at each turn."""

    operations: int
    commas: int
    loops: int
    depth: int
    looks_again: bool


@lru_cache(maxsize=4096)
def _shape(condition: str) -> _Shape:
    text = _TEXT.sub(lambda found: " " * len(found[0]), condition)
    bodies = [(found.end(), _end_of(text, found.end())) for found in _LOOP.finditer(text)]
    depths = [sum(1 for start, end in bodies if start < begin < end) for begin, _ in bodies]
    return _Shape(
        operations=1 + len(_OPERATION.findall(text)),
        commas=text.count(","),
        loops=len(bodies),
        depth=1 + max(depths, default=0),
        looks_again=any(depths) or any(_VARIABLE.search(text, start, end) for start, end in bodies),
    )


def _end_of(text: str, start: int) -> int:
    """Where the parenthesis before `start` is closed."""
    depth = 1
    for index in range(start, len(text)):
        depth += {"(": 1, ")": -1}.get(text[index], 0)
        if depth == 0:
            return index
    return len(text)


def _cost(condition: str, longest: int, items: int) -> int:
    """More than it can come to: each operation looks through everything there is, and a loop goes over all items; one
    that names a variable in its body looks through everything at each turn, and so do loops in loops."""
    shape = _shape(condition)
    items += shape.commas + 1
    once = longest + len(condition) + _ITEM_COST * items
    if not shape.loops:
        return shape.operations * once
    turns: int = shape.loops * items ** min(shape.depth, 4)
    return shape.operations * (once * (turns if shape.looks_again else 1) + _TURN_COST * turns)
