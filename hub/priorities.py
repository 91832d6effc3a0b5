"""Priorities as clients write them: 1 (lowest) to 10, or a word."""

from __future__ import annotations

from typing import Annotated, Literal

from msgspec import Meta

from executor.domain.values import PRIORITY_WORDS

PriorityValue = Annotated[
    Annotated[int, Meta(ge=1, le=10)] | Literal["low", "medium", "normal", "high", "critical", "urgent"],
    Meta(description="must be 1 to 10, or low, medium, normal, high, critical or urgent"),
]


def priority_of(value: int | str) -> int:
    return PRIORITY_WORDS[value] if isinstance(value, str) else value
