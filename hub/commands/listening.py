"""What `runcast webhooks listen` does. Imported only when it is called."""

from __future__ import annotations

import asyncio
import contextlib
import io
import socket
import sys
import time
from collections.abc import AsyncIterator, Sequence
from typing import Final

import aiohttp
from aiohttp import web
from msgspec import Struct

from hub.client import ClientError, NotFound, WorkflowClient
from hub.client.types import Webhook
from hub.commands.arrivals import Show, arrived_of, shown
from hub.commands.following import heed_ends
from hub.commands.tail import Hub
from hub.server import bound, url_of
from webhooks.verification import NoSignatureMatches, verify

MOST_BYTES: Final = 10 * 1024 * 1024
"""Of a body; what is larger is answered with 413."""

_FORWARD_SECONDS: Final = 60.0
_GRACE_SECONDS: Final = 1.0
_HUB_SECONDS: Final = 10.0
_HUB_RETRIES: Final = 2
_OF_THE_CONNECTION: Final = {"host", "content-length", "connection", "transfer-encoding", "keep-alive", "expect"}


class Wish(Struct, frozen=True, kw_only=True):
    """`status` is the answer, unless `forward` names who gives one. `delay` is seconds, `count` null for ever."""

    host: str = "127.0.0.1"
    port: int = 0
    status: int = 200
    delay: float = 0.0
    forward: str | None = None
    count: int | None = None
    as_json: bool = False


class Registration(Struct, frozen=True, kw_only=True):
    """With whom, for which events, and under which address, where that is not the one that is listened on."""

    hub: Hub
    events: tuple[str, ...]
    public_url: str | None = None


class CannotListen(Exception):
    """The address is taken, or not one of this machine."""


class Reply(Struct, frozen=True, kw_only=True):
    status: int
    body: bytes = b""
    content_type: str | None = None


def check(secrets: Sequence[str]) -> None:
    """Raises `ValueError` now for what would be none when something arrives."""
    if secrets:
        headers = {"webhook-id": "-", "webhook-timestamp": str(int(time.time())), "webhook-signature": "-"}
        with contextlib.suppress(NoSignatureMatches):
            verify(b"", headers, secrets)


async def listen(wish: Wish, secrets: Sequence[str], registration: Registration | None = None) -> None:
    """Prints what arrives until enough has, or somebody ends this. Raises `CannotListen`,
    `BrokenPipeError`, and `ClientError` where the hub does not register it."""
    heed_ends(asyncio.current_task())
    with contextlib.suppress(asyncio.CancelledError):
        await received(wish, secrets, registration)


async def received(wish: Wish, secrets: Sequence[str], registration: Registration | None = None) -> None:
    """What `listen` does, until it is cancelled."""
    receiver = Receiver(wish, shown(as_json=wish.as_json))
    async with receiver.serving() as url, contextlib.AsyncExitStack() as stack:
        say(f"listening on {url}; Ctrl-C ends it")
        if registration is not None:
            secrets = [*secrets, await stack.enter_async_context(registered(registration, url))]
        receiver.take(secrets)
        await receiver.ended


def say(text: str) -> None:
    """Standard output is for what arrives."""
    sys.stderr.write(f"runcast: {text}\n")
    sys.stderr.flush()


@contextlib.asynccontextmanager
async def registered(registration: Registration, url: str) -> AsyncIterator[str]:
    """A webhook for as long as this is entered; its secret. Whoever cancels this while the hub creates it leaves
    nothing behind."""
    hub = registration.hub
    body = {
        "url": registration.public_url or url,
        "events": list(registration.events),
        "description": "runcast webhooks listen",
    }
    async with WorkflowClient(hub.url, hub.api_key, timeout=_HUB_SECONDS, retries=_HUB_RETRIES) as client:
        creating = asyncio.create_task(client.webhooks.create(body))
        try:
            webhook = await asyncio.shield(creating)
            say(f"webhook {webhook.id} of {hub.url} sends {', '.join(webhook.events)} to {webhook.url}")
            yield webhook.secret or ""
        finally:
            await _unregistered(client, creating)


async def _unregistered(client: WorkflowClient, creating: asyncio.Task[Webhook]) -> None:
    id = "?"
    try:
        async with asyncio.timeout(_HUB_SECONDS):
            id = (await creating).id
            await client.webhooks.delete(id)
    except NotFound:
        pass
    except (ClientError, TimeoutError) as error:
        if creating.done() and creating.exception() is not None:
            return  # It was refused, which is said already.
        said = error if isinstance(error, ClientError) else "the hub does not answer"
        say(f"webhook {id} is still registered, to be deleted by DELETE /api/v1/webhooks/{id}: {said}")


class Receiver:
    """The server. What comes before `take` waits: the secret that it is verified with may be under way."""

    def __init__(self, wish: Wish, show: Show) -> None:
        self._wish, self._show = wish, show
        self._secrets: Sequence[str] = ()
        self._is_open = asyncio.Event()
        self._taken = self._answered = 0
        self.ended: asyncio.Future[None] = asyncio.get_running_loop().create_future()

    def take(self, secrets: Sequence[str]) -> None:
        self._secrets = secrets
        self._is_open.set()

    @contextlib.asynccontextmanager
    async def serving(self) -> AsyncIterator[str]:
        """Its address while it is entered. Raises `CannotListen`."""
        app = web.Application(client_max_size=MOST_BYTES)
        app.router.add_post("/{path:.*}", self._receive)
        runner = web.AppRunner(app, access_log=None, shutdown_timeout=_GRACE_SECONDS)
        with contextlib.closing(self._bound()) as listener:
            await runner.setup()
            try:
                await web.SockSite(runner, listener).start()
                timeout = aiohttp.ClientTimeout(total=_FORWARD_SECONDS)
                async with aiohttp.ClientSession(timeout=timeout) as self._http:
                    yield url_of(listener)
            finally:
                await runner.cleanup()

    def _bound(self) -> socket.socket:
        host, port = self._wish.host, self._wish.port
        try:
            return bound(host, port)
        except OSError as error:
            raise CannotListen(f"cannot listen on {host}:{port}: {error.strerror}") from None

    async def _receive(self, request: web.Request) -> web.StreamResponse:
        await self._is_open.wait()
        try:
            body = await request.read()
        except web.HTTPRequestEntityTooLarge:
            say(f"refused: a body of more than {MOST_BYTES >> 20} MiB")
            raise
        if self._taken == self._wish.count:
            raise web.HTTPServiceUnavailable(text="no more are taken")
        self._taken += 1
        reply = await self._reply(request, body)
        try:
            self._show(arrived_of(request.path_qs, request.headers, body, self._secrets, reply.status))
        except BrokenPipeError as error:
            self._end(error)
        await asyncio.sleep(self._wish.delay)
        return await self._answer(request, reply)

    async def _answer(self, request: web.Request, reply: Reply) -> web.StreamResponse:
        """Written before it counts: whoever waits for the last one ends the server."""
        response = web.Response(status=reply.status, body=reply.body)
        if reply.content_type is not None:
            response.headers["Content-Type"] = reply.content_type
        with contextlib.suppress(ConnectionError):  # Who asked may not have waited for so long.
            await response.prepare(request)
            await response.write_eof()
        self._answered += 1
        if self._answered == self._wish.count:
            self._end()
        return response

    def _end(self, error: Exception | None = None) -> None:
        if not self.ended.done():
            self.ended.set_result(None) if error is None else self.ended.set_exception(error)

    async def _reply(self, request: web.Request, body: bytes) -> Reply:
        """Ours, or that of whoever it is handed on to. 502 where nobody is there."""
        if self._wish.forward is None:
            return Reply(status=self._wish.status)
        headers = [(name, value) for name, value in request.headers.items() if name.lower() not in _OF_THE_CONNECTION]
        try:
            async with self._http.post(
                self._wish.forward, data=io.BytesIO(body), headers=headers, allow_redirects=False
            ) as answer:
                return Reply(
                    status=answer.status, body=await answer.read(), content_type=answer.headers.get("Content-Type")
                )
        except (aiohttp.ClientError, TimeoutError, ValueError) as error:
            say(f"not handed on to {self._wish.forward}: {str(error) or type(error).__name__}")
            return Reply(status=502)
