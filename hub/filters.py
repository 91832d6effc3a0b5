"""The conditions of subscriptions: CEL over an event, as anybody may see it.

A condition sees `event`, the whole event as `GET /events` shows it, and `data`, its data. What errs (a field
that an event has not) does not hold. Each is evaluated once for an event, however many subscriptions have it.
"""

from __future__ import annotations

from typing import Any, Final

import msgspec

from executor.expressions import ExpressionError, Scope, check, evaluate
from executor.ports import Recorded
from hub.messages import event_json

VARIABLES: Final = ("event", "data")


def require_condition(text: str) -> None:
    """Raises `ExpressionError` for what does not parse or cannot be true or false."""
    check(text, VARIABLES, is_condition=True)


class Seen:
    """An event as conditions see it: decoded when the first one asks."""

    __slots__ = ("_answers", "_recorded", "_scope")

    def __init__(self, recorded: Recorded) -> None:
        self._recorded = recorded
        self._scope: Scope | None = None
        self._answers: dict[str, bool] = {}

    def satisfies(self, condition: str) -> bool:
        answer = self._answers.get(condition)
        if answer is None:
            answer = self._answers[condition] = self._evaluated(condition)
        return answer

    def _evaluated(self, condition: str) -> bool:
        try:
            if self._scope is None:
                event: dict[str, Any] = msgspec.json.decode(event_json(self._recorded))
                self._scope = Scope({"event": event, "data": event["data"]}, VARIABLES)
            return evaluate(condition, self._scope) is True
        except (ExpressionError, msgspec.DecodeError):
            return False
