"""What stands outside the hub in the demo: a shop's API that fails once, and a webhook receiver that verifies."""

from __future__ import annotations

import asyncio
import base64
import hashlib
import hmac
import json
from dataclasses import dataclass, field
from typing import Any

from aiohttp import web


def verify_webhook_signature(payload: str, signature: str, secret: str) -> bool:
    """`X-Webhook-Signature`: HMAC-SHA256 over the body, under the secret's whole text."""
    expected = hmac.new(secret.encode(), payload.encode(), hashlib.sha256).hexdigest()
    return hmac.compare_digest(f"sha256={expected}", signature)


def verify_standard_webhook(body: bytes, headers: Any, secret: str) -> bool:
    """`webhook-signature` as https://www.standardwebhooks.com has it."""
    key = base64.b64decode(secret.removeprefix("whsec_")) if secret.startswith("whsec_") else secret.encode()
    signed = f"{headers['webhook-id']}.{headers['webhook-timestamp']}.".encode() + body
    expected = "v1," + base64.b64encode(hmac.digest(key, signed, "sha256")).decode()
    return any(hmac.compare_digest(expected, given) for given in headers["webhook-signature"].split())


@dataclass
class Delivered:
    """A webhook request as it came in."""

    event: str
    position: int | None
    body: dict[str, Any]
    is_verified: bool


@dataclass
class Receiver:
    """Listens on loopback while it is entered. `secret` is set when the webhook is registered."""

    secret: str = ""
    price_keys: list[str] = field(default_factory=list)
    delivered: list[Delivered] = field(default_factory=list)
    arrived: asyncio.Event = field(default_factory=asyncio.Event)
    url: str = ""

    async def __aenter__(self) -> Receiver:
        app = web.Application()
        app.add_routes(
            [web.get("/price", self._price), web.get("/stock", self._stock), web.post("/hook", self._hook)]
        )
        self._runner = web.AppRunner(app, access_log=None)
        await self._runner.setup()
        site = web.TCPSite(self._runner, "127.0.0.1", 0)
        await site.start()
        host, port = self._runner.addresses[0][:2]
        self.url = f"http://{host}:{port}"
        return self

    async def __aexit__(self, *error: object) -> None:
        await self._runner.cleanup()

    async def _price(self, request: web.Request) -> web.Response:
        """Fails the first time; each attempt must bring the same Idempotency-Key."""
        self.price_keys.append(request.headers["Idempotency-Key"])
        if len(self.price_keys) == 1:
            return web.json_response({"error": "try again"}, status=503)
        return web.json_response({"price": 42.5})

    async def _stock(self, request: web.Request) -> web.Response:
        return web.json_response({"in_stock": 7})

    async def _hook(self, request: web.Request) -> web.Response:
        raw = await request.read()
        is_verified = verify_webhook_signature(
            raw.decode(), request.headers["X-Webhook-Signature"], self.secret
        ) and verify_standard_webhook(raw, request.headers, self.secret)
        body = json.loads(raw)
        self.delivered.append(Delivered(body["event"], body["position"], body, is_verified))
        self.arrived.set()
        return web.Response(status=204 if is_verified else 400)
