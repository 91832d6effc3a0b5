"""What this process has counted, as Prometheus reads it: https://prometheus.io/docs/instrumenting/exposition_formats/.

Nothing is counted here: what works keeps plain numbers, and these are put into samples when somebody asks. No label
names an organization or one of its things, and every label has few values.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Final

from prometheus_client import CollectorRegistry, GCCollector, ProcessCollector
from prometheus_client.core import GaugeMetricFamily, InfoMetricFamily
from prometheus_client.exposition import choose_encoder
from prometheus_client.metrics_core import Metric
from prometheus_client.registry import Collector

from executor.engine import Engine
from executor.ports import EventLog
from hub.entries import ENCODED
from hub.feed import Feed
from hub.loop_lag import LoopLag
from hub.meter import RequestMeter
from hub.samples import PREFIX, Counts, Timings, counter, gauge, histogram
from hub.settings import VERSION
from hub.socket.codes import CloseCode
from hub.socket.endpoint import Sockets
from hub.sse import Streams
from hub.webhook_metrics import WebhookMetrics

_CODES: Final = {*map(int, CloseCode), 1000, 1002, 1007}
"""With which we close, and with which the WebSocket protocol itself does."""


class Metrics:
    """`engine` is None in a process that runs no executions."""

    def __init__(
        self,
        log: EventLog,
        feed: Feed,
        sockets: Sockets,
        streams: Streams,
        requests: RequestMeter,
        lag: LoopLag,
        engine: Engine | None,
        webhooks: WebhookMetrics,
    ) -> None:
        self._log, self._feed, self._sockets, self._streams = log, feed, sockets, streams
        self._requests, self._lag, self._engine, self._webhooks = requests, lag, engine, webhooks
        self._process = CollectorRegistry()
        ProcessCollector(registry=self._process)
        GCCollector(registry=self._process)

    async def exposed(self, accept: str) -> tuple[bytes, str]:
        """Text and its content type: OpenMetrics for those who accept it, else Prometheus's own. The loop is held
        only to read numbers: the operating system is asked, and what there is much of is written, beside it."""
        encode, content_type = _encoder(accept)
        subscriptions, behind = await self._sockets.census()
        ours = (*self._families(subscriptions, behind), *await self._webhooks.families())
        requests = dict(self._requests.answers), dict(self._requests.seconds)
        return await asyncio.to_thread(encode, _Together(ours, *requests, self._process)), content_type

    def _families(self, subscriptions: int, behind: int) -> Iterator[Metric]:
        yield InfoMetricFamily(f"{PREFIX}build", "The version of the hub.", value={"version": VERSION})
        yield from self._clients(subscriptions, behind)
        yield from self._closes()
        yield from self._handed_over()
        yield histogram(
            "append_to_write_seconds",
            "From the time of an event to its having been handed to all who listen.",
            {(): self._feed.meter.latency},
        )
        yield from self._of_the_log()
        yield histogram("loop_lag_seconds", "How late the event loop woke who slept.", {(): self._lag.histogram})
        yield gauge("loop_lag_max_seconds", "The latest in about the last minute.", self._lag.longest)
        if self._engine is not None:
            yield gauge("executions_owned", "Executions that the engine here has in memory.", self._engine.owned)

    def _clients(self, subscriptions: int, behind: int) -> Iterator[Metric]:
        sockets, streams = self._sockets, self._streams
        for name, said, of_sockets, of_streams in (
            ("connections", "Open connections.", sockets.connection_count, len(streams)),
            ("subscriptions", "Channels that are followed.", subscriptions, streams.subscription_count),
            (
                "clients_behind",
                "Clients that are read on from the log: they were too slow, or have come back.",
                behind,
                streams.behind_count,
            ),
        ):
            family = GaugeMetricFamily(PREFIX + name, said, labels=["transport"])
            family.add_metric(["websocket"], of_sockets)
            family.add_metric(["sse"], of_streams)
            yield family

    def _closes(self) -> Iterator[Metric]:
        sockets = self._sockets
        yield counter("websocket_closes", "Closes that the hub began.", _by_code(sockets.closes), ("code",))
        yield counter(
            "websocket_refused", "Closes of clients that were never welcomed.", _by_code(sockets.refused), ("code",)
        )

    def _handed_over(self) -> Iterator[Metric]:
        meter = self._feed.meter
        for name, said, value in (
            ("feed_events", "Events that the feed has passed, whoever listened.", meter.events),
            ("feed_deliveries", "Messages times the clients that they were handed to.", meter.deliveries),
            ("feed_bytes", "Bytes that were handed over.", meter.bytes),
            ("feed_set_aside", "Subscriptions set aside because their client was too slow.", meter.set_aside),
            ("feed_pages", "Pages that were handed to clients that were behind.", meter.pages),
            ("feed_log_reads", "Reads of the log for such pages; the others came from memory.", meter.reads),
            ("encoded_messages", "Messages encoded, each once for all who get it.", ENCODED.messages),
            ("encode_seconds", "Seconds spent on encoding.", ENCODED.seconds),
        ):
            yield counter(name, said, {(): value})

    def _of_the_log(self) -> Iterator[Metric]:
        log = self._log
        yield InfoMetricFamily(f"{PREFIX}log", "Which log it is.", value={"epoch": log.epoch})
        yield gauge("log_head", "The last position of the log, as far as this process knows.", log.head)
        yield gauge("feed_position", "The position through which the feed has handed over.", self._feed.cast)


class _Together(Collector):
    """What is ours, what is known of HTTP, and others': made while it is written."""

    def __init__(self, ours: Iterable[Metric], answers: Counts, seconds: Timings, others: Collector) -> None:
        self._ours, self._answers, self._seconds, self._others = ours, answers, seconds, others

    def collect(self) -> Iterator[Metric]:
        yield from self._ours
        labels = ("method", "route")
        yield counter("http_requests", "Requests that were answered.", self._answers, (*labels, "status"))
        yield histogram(
            "http_request_seconds", "From a request to the beginning of its answer.", self._seconds, labels
        )
        yield from self._others.collect()


def _encoder(accept: str) -> tuple[Callable[[Collector], bytes], str]:
    """A version that is none is not worth an error."""
    try:
        return choose_encoder(accept)
    except (TypeError, ValueError):
        return choose_encoder("")


def _by_code(counts: Mapping[int, int]) -> dict[tuple[str, ...], int]:
    """Every code from the beginning, so that the first of a kind shows as a growth."""
    known: dict[tuple[str, ...], int] = {(str(code),): counts.get(code, 0) for code in sorted(_CODES)}
    return known | {("other",): sum(counts.values()) - sum(known.values())}
