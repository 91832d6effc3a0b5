"""Counts by size: what is shown of how long things take."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Sequence


class Histogram:
    """Counts by bucket, the last for what is above all bounds, and the sum in seconds."""

    def __init__(self, bounds: Sequence[float]) -> None:
        """`bounds` are the upper ones, in seconds."""
        self.bounds = tuple(bounds)
        self.counts = [0] * (len(self.bounds) + 1)
        self.sum = 0.0

    def observe(self, seconds: float, times: int = 1) -> None:
        self.counts[bisect_left(self.bounds, seconds)] += times
        self.sum += seconds * times
