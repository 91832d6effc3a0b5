"""What the lists of deliveries have in common on both databases."""

from __future__ import annotations

from collections.abc import Sequence

EXHAUSTED = "exhausted"
MOST_CANCELLED = 1000
"""Deliveries of one transaction: a longer one would keep everybody else from writing."""


def one_of(column: str, values: Sequence[str]) -> tuple[str, Sequence[str]]:
    """A condition and its parameters; no parameters, no condition."""
    if tuple(values) == (EXHAUSTED,):
        return "", ()
    return f"{column} IN ({', '.join('?' * len(values))})", tuple(values)


def whole(statuses: Sequence[str]) -> list[str]:
    """What was given up has indexes of its own, which are found only where the text of a statement says so."""
    return [f"status = '{EXHAUSTED}'"] if tuple(statuses) == (EXHAUSTED,) else []
