"""`wait`: for some seconds, or until a time. Holds nothing while it waits, and outlives the process."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any, ClassVar

from executor.components.base import Component, ComponentError, Context, Suspend, config_of
from executor.domain.values import Instant, instant, plus


class Wait(Component):
    type = "wait"
    name = "Wait"
    description = "Waits for `seconds`, or `until` an RFC 3339 time; a time that has passed does not wait."
    category = "control"
    config_schema = config_of(
        {
            "seconds": {"type": "number", "minimum": 0, "maximum": 315_360_000},
            "until": {"type": "string", "format": "date-time"},
        },
        minProperties=1,
        maxProperties=1,
    )
    output_schema: ClassVar[dict[str, Any]] = {"type": "null"}

    async def run(self, context: Context) -> Suspend:
        if "seconds" in context.config:
            return Suspend(plus(context.first_started_at, context.config["seconds"]))
        return Suspend(_parsed(context.config["until"]))


def _parsed(text: str) -> Instant:
    try:
        until = datetime.fromisoformat(text)
        return instant(until if until.tzinfo else until.replace(tzinfo=UTC))
    except (ValueError, OverflowError):
        raise ComponentError(f"'{text[:64]}' is not a time; write it as 2026-01-31T12:00:00Z") from None
