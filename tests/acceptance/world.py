"""What acceptance tests' hubs reach, and the workflows that they run: a service that fails first, a receiver that
verifies."""

from __future__ import annotations

import base64
import contextlib
import hashlib
import hmac
from collections import Counter, defaultdict
from collections.abc import AsyncIterator
from typing import Any

import msgspec
from aiohttp import web

from tests.integration.hubs import Client

QUICK = {"initial_delay_seconds": 0.2, "max_delay_seconds": 1, "backoff_multiplier": 1.5}
_LIVE = ("pending", "queued", "running", "paused")


class World:
    """What the hub reaches: a service that fails first, and a receiver that verifies."""

    def __init__(self) -> None:
        self.url = self.secret = ""
        self.requests: Counter[str] = Counter()
        self.effects: Counter[str] = Counter()
        self.attempts: defaultdict[str, list[int]] = defaultdict(list)
        self.completed: Counter[str] = Counter()
        self.ids: defaultdict[str, set[str]] = defaultdict(set)
        self.wrong = 0

    async def service(self, request: web.Request) -> web.Response:
        key = request.headers["Idempotency-Key"]
        self.requests[key] += 1
        self.attempts[key].append(int(request.headers["X-Runcast-Attempt"]))
        return web.json_response({"times": self.requests[key]}, status=503 if self.requests[key] == 1 else 200)

    async def effect(self, request: web.Request) -> web.Response:
        """What happens by a request, unless it is one of the first of its key that are to fail."""
        key, body = request.headers["Idempotency-Key"], await request.json()
        self.requests[key] += 1
        if self.requests[key] <= int(request.match_info.get("failures", 0)):
            return web.json_response(body, status=503)
        self.effects[key] += 1
        return web.json_response(body)

    async def broken(self, request: web.Request) -> web.Response:
        return web.json_response({}, status=400)

    async def hook(self, request: web.Request) -> web.Response:
        body = await request.read()
        if not self.is_genuine(body, request.headers):
            self.wrong += 1
            return web.Response(status=401)
        event = msgspec.json.decode(body)
        id = event["data"]["execution"]["id"]
        self.completed[id] += 1
        self.ids[id].add(request.headers["webhook-id"])
        return web.Response()

    def is_genuine(self, body: bytes, headers: Any) -> bool:
        """Both signatures, as receivers verify them: seed of Standard Webhooks, and the plain one over the body."""
        plain = "sha256=" + hmac.new(self.secret.encode(), body, hashlib.sha256).hexdigest()
        signed = b".".join([headers["webhook-id"].encode(), headers["webhook-timestamp"].encode(), body])
        key = base64.b64decode(self.secret.removeprefix("whsec_"))
        standard = "v1," + base64.b64encode(hmac.new(key, signed, hashlib.sha256).digest()).decode()
        return hmac.compare_digest(plain, headers["X-Webhook-Signature"]) and any(
            hmac.compare_digest(standard, given) for given in headers["webhook-signature"].split()
        )


def linked(*pairs: str) -> list[dict[str, str]]:
    return [{"source": source, "target": target} for source, target in (pair.split(">") for pair in pairs)]


def shapes(url: str) -> dict[str, dict[str, Any]]:
    start, end = {"id": "start", "type": "start"}, {"id": "end", "type": "end", "config": {"output": {"n": "{{n}}"}}}
    number = [{"name": "n", "type": "integer", "required": True}]
    call = {
        "id": "call",
        "type": "http_request",
        "config": {"url": f"{url}/service", "method": "POST"},
        "retry": QUICK | {"max_attempts": 50},
    }
    branches = [
        {"id": id, "type": "transform", "config": {"output": {id: "${start.output.n}"}}} for id in ("a", "b", "c")
    ]
    return {
        "fork and join": {
            "parameters": number,
            "components": [start, *branches, end],
            "connections": linked("start>a", "start>b", "start>c", "a>end", "b>end", "c>end"),
        },
        "retry": {
            "parameters": number,
            "components": [start, call, end],
            "connections": linked("start>call", "call>end"),
        },
        "wait": {
            "parameters": number,
            "components": [
                start,
                {"id": "wait", "type": "wait", "config": {"seconds": "${workflow.input.seconds}"}},
                end,
            ],
            "connections": linked("start>wait", "wait>end"),
        },
        "choice": {
            "parameters": number,
            "components": [
                start,
                {"id": "odd", "type": "condition", "config": {"expression": "input.n % 2 == 1"}},
                {"id": "yes", "type": "log", "config": {"message": "{{n}} is odd"}},
                {"id": "no", "type": "wait", "config": {"seconds": 0.2}},
                end,
            ],
            "connections": [
                *linked("start>odd", "yes>end", "no>end"),
                {"source": "odd", "target": "yes", "type": "conditional", "condition": "output.result"},
                {"source": "odd", "target": "no", "type": "conditional", "condition": "!output.result"},
            ],
        },
    }


@contextlib.asynccontextmanager
async def reached() -> AsyncIterator[World]:
    world, app = World(), web.Application()
    app.router.add_post("/service", world.service)
    for path in ("/effect", "/effect/{failures}"):
        app.router.add_post(path, world.effect)
    app.router.add_post("/broken", world.broken)
    app.router.add_post("/hook", world.hook)
    runner = web.AppRunner(app, shutdown_timeout=0.1)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    world.url = f"http://127.0.0.1:{runner.addresses[0][1]}"
    yield world
    await runner.cleanup()


async def everything(client: Client) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = []
    while page := await client.events(after=found[-1]["position"] if found else 0):
        found += page
    return found


async def nothing_is_live(client: Client) -> bool:
    live = [await client.get("/executions", status=status, limit=1) for status in _LIVE]
    return not any(answer.metadata["total_count"] for answer in live)


async def all_executions(client: Client) -> dict[str, dict[str, Any]]:
    """By id."""
    found: dict[str, dict[str, Any]] = {}
    while page := (await client.get("/executions", limit=500, offset=len(found))).data:
        found |= {each["id"]: each for each in page}
    return found
