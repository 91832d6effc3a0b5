"""The sockets of a client: one, but where two subscriptions could not be told apart on it."""

from __future__ import annotations

import asyncio
import ssl
from typing import Any, Final

from websockets.asyncio.client import ClientConnection, connect

from hub.client.address import socket_url
from hub.client.backoff import Chance
from hub.client.credentials import Credentials, headers
from hub.client.errors import ClientClosed
from hub.client.live.inbox import Inbox
from hub.client.live.link import Lifetime, Link

_OPEN_SECONDS: Final = 10.0
_CLOSE_SECONDS: Final = 1.0
_LONGEST_MESSAGE: Final = 64 * 1024 * 1024


class _Connecting(connect):
    """A redirect is not followed: the credentials are for this hub."""

    def process_redirect(self, exc: Exception) -> Exception | str:
        return exc


class Links:
    def __init__(
        self,
        api: str,
        credentials: Credentials,
        lifetime: Lifetime,
        *,
        ssl_context: ssl.SSLContext | None,
        uses_proxies: bool,
        chance: Chance,
    ) -> None:
        self._url, self._credentials, self._lifetime = socket_url(api), credentials, lifetime
        self._chance = chance
        self._options: dict[str, Any] = {"proxy": True if uses_proxies else None}
        if ssl_context is not None and self._url.startswith("wss"):
            self._options["ssl"] = ssl_context
        self._links: list[Link] = []
        self._is_closed = False

    @property
    def count(self) -> int:
        return len(self._links)

    def add(self, inbox: Inbox) -> Link:
        """On the first socket where it fits. Raises `ClientClosed`."""
        if self._is_closed:
            raise ClientClosed("the client was closed")
        link = next((each for each in self._links if each.fits(inbox.course.wish)), None)
        if link is None:
            link = Link(self._connect, self._credentials, self._lifetime, self._links.remove, self._chance)
            self._links.append(link)
        link.add(inbox)
        return link

    async def close(self) -> None:
        self._is_closed = True
        await asyncio.gather(*(link.close() for link in tuple(self._links)))

    async def _connect(self, token: str) -> ClientConnection:
        return await _Connecting(
            self._url,
            additional_headers=headers(token),
            user_agent_header="runcast-client",
            compression=None,
            open_timeout=_OPEN_SECONDS,
            close_timeout=_CLOSE_SECONDS,
            ping_interval=None,
            max_size=_LONGEST_MESSAGE,
            **self._options,
        )
