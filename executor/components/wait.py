"""`wait`: for some seconds, until a time, or for a signal. Holds nothing while it waits, and outlives the process."""

from __future__ import annotations

from datetime import UTC, datetime

from executor.components.base import Component, ComponentError, Context, Suspend, config_of
from executor.domain.values import SIGNAL_PATTERN, Instant, instant, plus


class Wait(Component):
    type = "wait"
    name = "Wait"
    description = (
        "Waits for `seconds`, `until` an RFC 3339 time, or for a `signal`, whose data is the output; after "
        "`timeout_seconds` without it the component fails. A time that has passed does not wait."
    )
    category = "control"
    config_schema = config_of(
        {
            "seconds": {"type": "number", "minimum": 0, "maximum": 315_360_000},
            "until": {"type": "string", "format": "date-time"},
            "signal": {"type": "string", "pattern": SIGNAL_PATTERN, "maxLength": 256},
            "timeout_seconds": {"type": "number", "minimum": 0, "maximum": 315_360_000},
        },
        description="must say one of 'seconds', 'until' and 'signal'",
        oneOf=[{"required": ["seconds"]}, {"required": ["until"]}, {"required": ["signal"]}],
        dependentRequired={"timeout_seconds": ["signal"]},
    )

    async def run(self, context: Context) -> Suspend:
        config, began = context.config, context.first_started_at
        if "signal" in config:
            timeout = config.get("timeout_seconds")
            return Suspend(None if timeout is None else plus(began, timeout), config["signal"])
        if "seconds" in config:
            return Suspend(plus(began, config["seconds"]))
        return Suspend(_parsed(config["until"]))


def _parsed(text: str) -> Instant:
    try:
        until = datetime.fromisoformat(text)
        return instant(until if until.tzinfo else until.replace(tzinfo=UTC))
    except (ValueError, OverflowError):
        raise ComponentError(f"'{text[:64]}' is not a time; write it as 2026-01-31T12:00:00Z") from None
