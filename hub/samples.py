"""Plain numbers as samples of Prometheus: names begin with `runcast_`."""

from __future__ import annotations

from collections.abc import Mapping
from itertools import accumulate
from typing import Final

from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily
from prometheus_client.metrics_core import Metric
from prometheus_client.utils import floatToGoString

from executor.histogram import Histogram

Counts = Mapping[tuple[str, ...], float]
Timings = Mapping[tuple[str, ...], Histogram]
"""By the values of labels."""

PREFIX: Final = "runcast_"


def gauge(name: str, said: str, value: float) -> Metric:
    return GaugeMetricFamily(PREFIX + name, said, value=value)


def counter(name: str, said: str, values: Counts, labels: tuple[str, ...] = ()) -> Metric:
    family = CounterMetricFamily(PREFIX + name, said, labels=labels)
    for label, value in values.items():
        family.add_metric(label, value)
    return family


def histogram(name: str, said: str, values: Timings, labels: tuple[str, ...] = ()) -> Metric:
    family = HistogramMetricFamily(PREFIX + name, said, labels=labels)
    for label, histogram in values.items():
        bounds = [*map(floatToGoString, histogram.bounds), "+Inf"]
        counts = accumulate(histogram.counts)
        family.add_metric(label, list(zip(bounds, counts, strict=True)), histogram.sum)
    return family
