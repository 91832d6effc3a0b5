"""What Prometheus reads of a whole hub."""

from __future__ import annotations

import asyncio
import contextlib
import json
import re
import socket
from collections.abc import AsyncIterator, Mapping
from typing import Any
from urllib.parse import urlsplit

import pytest
from prometheus_client.metrics_core import Metric
from prometheus_client.openmetrics.parser import text_string_to_metric_families as open_metrics
from prometheus_client.parser import text_string_to_metric_families as parsed
from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import ConnectionClosed

from hub.app import PREFIXES
from hub.auth.permissions import PERMISSIONS
from hub.socket.codes import CloseCode
from tests.integration.hubs import ROOT, SMALLEST, Client, Hub, unique, until
from tests.integration.listening import listening

pytestmark = pytest.mark.asyncio(loop_scope="session")

ROW = re.compile(r"^\| `((?:runcast|process|python)_\w+)` \| ([^|]*) \|", re.MULTILINE)
OPEN_METRICS = "application/openmetrics-text;version=1.0.0,text/plain;version=0.0.4;q=0.5,*/*;q=0.1"
LARGE = "x" * 800_000


class Scrape:
    """What was said at one moment."""

    def __init__(self, text: str) -> None:
        self.text = text
        self.families: list[Metric] = list(parsed(text))
        self._values = {
            (sample.name, frozenset(sample.labels.items())): sample.value
            for family in self.families
            for sample in family.samples
        }

    def __call__(self, name: str, **labels: str) -> float:
        """0 for what there is none of yet."""
        return self._values.get((f"runcast_{name}", frozenset(labels.items())), 0)


@pytest.fixture
def operator(admin: Client) -> Client:
    return admin


async def scraped(client: Client) -> Scrape:
    answer = await client.send("GET", "/metrics", prefix="")
    assert answer.status == 200, answer.body
    return Scrape(answer.body.decode())


async def scraped_when(client: Client, name: str, value: float, **labels: str) -> Scrape:
    """As soon as a metric has come to a value."""

    async def has_come() -> Scrape | None:
        scrape = await scraped(client)
        return scrape if scrape(name, **labels) == value else None

    found: Scrape = await until(has_come)
    return found


async def test_the_docs_name_every_metric_with_its_labels_and_no_other(operator: Client) -> None:
    await operator.get("/workflows")
    scrape = await scraped(operator)
    said = dict(ROW.findall((ROOT / "docs/operations.md").read_text()))
    assert re.findall(r"^# TYPE (\w+) ", scrape.text, re.MULTILINE) == list(dict.fromkeys(said)), "in this order too"
    for family in scrape.families:
        name = f"{family.name}_total" if family.type == "counter" else family.name
        labels = {label for sample in family.samples for label in sample.labels} - {"le"}
        assert labels == set(re.findall(r"`(\w+)`", said[name])), name


async def test_a_socket_that_subscribes_and_gets_messages_moves_the_counters(operator: Client) -> None:
    await scraped_when(operator, "connections", 0, transport="websocket")
    async with listening(operator) as one, listening(operator) as other:
        for client in (one, other):
            await client.subscribe("execution", execution_id="*")
        before = await scraped_when(operator, "subscriptions", 2, transport="websocket")
        assert before("connections", transport="websocket") == 2
        await operator.ended(await operator.execution((await operator.workflow())["id"]))
        heard = await one.answers("execution_update", "component_completed", count=3)
        assert len(await other.answers("execution_update", "component_completed", count=3)) == 3
        after = await scraped(operator)
    deliveries, size = (after(name) - before(name) for name in ("feed_deliveries_total", "feed_bytes_total"))
    assert deliveries >= 2 * len(heard)
    assert size > sum(len(json.dumps(message)) for message in heard), "twice as much, but for blanks"
    grown = after("feed_events_total") - before("feed_events_total")
    assert grown >= 3
    assert after("encoded_messages_total") - before("encoded_messages_total") < deliveries, "once for both"
    assert after("encode_seconds_total") > before("encode_seconds_total")
    name = "append_to_write_seconds"
    assert after(f"{name}_count") - before(f"{name}_count") == grown
    assert after(f"{name}_bucket", le="+Inf") == after(f"{name}_count") == after("feed_events_total")
    assert after(f"{name}_sum") > before(f"{name}_sum")
    assert after("feed_position") >= before("feed_position") + 3
    assert after("log_head") >= after("feed_position")
    await scraped_when(operator, "connections", 0, transport="websocket")


async def test_an_event_stream_counts_as_a_connection_with_its_channels(operator: Client) -> None:
    await scraped_when(operator, "connections", 0, transport="sse")
    url, headers = f"{operator.url}/api/v1/events/stream", {"X-API-Key": operator.key or ""}
    several = [("channel", "webhook:*"), ("channel", "system")]
    async with operator.http.get(url, headers=headers) as one:
        assert one.status == 200
        async with operator.http.get(url, headers=headers, params=several) as other:
            assert other.status == 200
            scrape = await scraped_when(operator, "connections", 2, transport="sse")
            assert scrape("subscriptions", transport="sse") == 3
            assert scrape("http_requests_total", method="GET", route="/events/stream", status="200") >= 2
    await scraped_when(operator, "connections", 0, transport="sse")


@contextlib.asynccontextmanager
async def sleeper(client: Client) -> AsyncIterator[ClientConnection]:
    """A client that reads only when it is asked, behind a small buffer."""
    address = urlsplit(client.url)
    sock = socket.socket()
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
    sock.setblocking(False)
    await asyncio.get_running_loop().sock_connect(sock, (address.hostname, address.port))
    url, headers = f"ws://{address.netloc}/api/v1/ws", {"X-API-Key": client.key or ""}
    async with connect(
        url,
        sock=sock,
        additional_headers=headers,
        compression=None,
        proxy=None,
        max_queue=1,
        max_size=None,
        close_timeout=0.1,
    ) as connection:
        assert (await heard(connection))["type"] == "welcome"
        yield connection


async def heard(connection: ClientConnection) -> dict[str, Any]:
    async with asyncio.timeout(30):
        message: dict[str, Any] = json.loads(await connection.recv())
        return message


async def test_a_slow_client_shows_until_it_has_read_everything(operator: Client) -> None:
    before = await scraped_when(operator, "clients_behind", 0, transport="websocket")
    workflow = await operator.workflow()
    async with sleeper(operator) as slow:
        await slow.send(json.dumps({"type": "subscribe", "data": {"channel": "events"}}))
        assert (await heard(slow))["type"] == "subscribed"
        created = [
            await operator.execution(workflow["id"], parameters={"text": LARGE}, auto_start=False) for _ in range(8)
        ]
        lagging = await scraped_when(operator, "clients_behind", 1, transport="websocket")
        assert lagging("feed_set_aside_total") > before("feed_set_aside_total")
        read: list[str] = []
        while len(read) < len(created):
            message = await heard(slow)
            if message["data"]["type"] == "execution.created":
                read.append(message["data"]["execution_id"])
        assert read == created
        after = await scraped_when(operator, "clients_behind", 0, transport="websocket")
    assert after("feed_pages_total") > before("feed_pages_total")
    assert after("feed_deliveries_total") - before("feed_deliveries_total") >= len(created)


async def closed_with(connection: ClientConnection) -> int:
    with contextlib.suppress(ConnectionClosed):
        async with asyncio.timeout(30):
            while True:
                await connection.recv()
    assert connection.close_code is not None
    return connection.close_code


async def test_closes_count_by_their_code_and_refusals_once_more(operator: Client) -> None:
    before = await scraped(operator)
    url = operator.url.replace("http", "ws", 1) + "/api/v1/ws"
    async with connect(f"{url}?token=nonsense", proxy=None) as stranger:
        assert await closed_with(stranger) == CloseCode.UNAUTHENTICATED
    async with listening(operator) as welcomed:
        await welcomed.connection.send("nonsense")
        assert await closed_with(welcomed.connection) == CloseCode.MALFORMED
    async with listening(operator) as talkative:
        await talkative.connection.send("x" * 70_000)
        assert await closed_with(talkative.connection) == CloseCode.TOO_BIG
    async with listening(operator) as leaving:
        await leaving.connection.close(4403)
    after = await scraped_when(operator, "connections", 0, transport="websocket")

    def grown(name: str) -> Mapping[str, float]:
        found = {code: after(name, code=code) - before(name, code=code) for code in codes}
        return {code: count for code, count in found.items() if count}

    codes = [*(str(int(code)) for code in CloseCode), "1000", "1002", "1007", "other"]
    assert grown("websocket_closes_total") == {"4401": 1, "4400": 1, "1009": 1}
    assert grown("websocket_refused_total") == {"4401": 1}


async def test_requests_count_by_the_route_as_it_is_declared(operator: Client, hub: Hub) -> None:
    workflow, name = await operator.workflow(), "http_requests_total"
    before = await scraped(operator)
    for prefix in PREFIXES:
        await operator.send("GET", f"/workflows/{workflow['id']}", prefix=prefix)
    await operator.get("/workflows/nothing")
    await operator.post("/workflows", {"name": workflow["name"], "definition": SMALLEST})
    await hub.nobody.get("/workflows/nothing")
    await operator.get("/a/path/that/is/not/there", secret="squirrel")
    await operator.send("PATCH", "/workflows")
    after = await scraped(operator)

    def grown(method: str, route: str, status: int) -> float:
        labels = {"method": method, "route": route, "status": str(status)}
        return after(name, **labels) - before(name, **labels)

    assert grown("GET", "/workflows/{id}", 200) == 2, "under either prefix"
    assert grown("GET", "/workflows/{id}", 404) == grown("GET", "/workflows/{id}", 401) == 1
    assert grown("POST", "/workflows", 409) == 1
    assert grown("GET", "unmatched", 404) == grown("PATCH", "unmatched", 405) == 1
    labels = {"method": "GET", "route": "/workflows/{id}"}
    count = "http_request_seconds_count"
    assert after(count, **labels) - before(count, **labels) == 4
    assert grown("GET", "/metrics", 200) == 1, "the one before"


async def test_nothing_of_an_organization_is_in_it(operator: Client) -> None:
    workflow = await operator.workflow(name=unique("quarterly"))
    async with listening(operator) as client:
        await client.subscribe("workflow", workflow_id=workflow["id"])
        execution = await operator.execution(workflow["id"])
        await operator.ended(execution)
        text = (await scraped(operator)).text
    for theirs in (operator.organization_id, operator.key, workflow["id"], workflow["name"], execution):
        assert theirs
        assert theirs not in text


@pytest.mark.parametrize("prefix", ["", *PREFIXES])
async def test_a_key_needs_the_permission_wherever_it_asks(hub: Hub, prefix: str) -> None:
    assert (await hub.nobody.send("GET", "/metrics", prefix=prefix)).status == 401
    other = await hub.client(permissions=tuple(sorted(PERMISSIONS - {"system.read"})))
    assert (await other.send("GET", "/metrics", prefix=prefix)).status == 403
    scraper = await hub.client(permissions=("system.read",))
    answer = await hub.nobody.send(
        "GET", "/metrics", prefix=prefix, headers={"Authorization": f"Bearer {scraper.key}"}
    )
    assert answer.status == 200
    assert answer.headers["Content-Type"] == "text/plain; version=0.0.4; charset=utf-8"
    assert answer.headers["Cache-Control"] == "no-store"
    head = await scraper.send("HEAD", "/metrics", prefix=prefix)
    assert (head.status, head.body) == (200, b"")


async def test_who_accepts_open_metrics_gets_it(operator: Client) -> None:
    answer = await operator.send("GET", "/metrics", headers={"Accept": OPEN_METRICS})
    assert answer.headers["Content-Type"].startswith("application/openmetrics-text; version=1.0.0")
    found = {family.name for family in open_metrics(answer.body.decode())}
    assert found >= {"runcast_build", "runcast_feed_deliveries", "runcast_loop_lag_seconds"}


@pytest.mark.parametrize(
    "accept",
    [
        "*/*",
        "nonsense",
        "application/openmetrics-text;version=x",
        "text/plain;version=" + "9" * 5000,
        "é;;,=,;version",
    ],
)
async def test_whatever_else_is_accepted_is_answered_with_plain_text(operator: Client, accept: str) -> None:
    answer = await operator.send("GET", "/metrics", headers={"Accept": accept})
    assert answer.status == 200
    assert answer.headers["Content-Type"] == "text/plain; version=0.0.4; charset=utf-8"


async def test_the_loop_is_measured_and_the_log_has_its_epoch(operator: Client, hub: Hub) -> None:
    async def is_measured() -> Scrape | None:
        scrape = await scraped(operator)
        return scrape if scrape("loop_lag_seconds_count") >= 1 else None

    scrape: Scrape = await until(is_measured)
    assert 0 <= scrape("loop_lag_max_seconds") <= scrape("loop_lag_seconds_sum")
    assert scrape("log_info", epoch=hub.services.store.log.epoch) == 1
