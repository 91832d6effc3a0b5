"""Who asks: an API key, or a callable that gives a fresh token whenever one is needed. Shown nowhere."""

from __future__ import annotations

import asyncio
import inspect
from collections.abc import Awaitable, Callable

from hub.client.errors import Misused

ApiKey = str | Callable[[], str | Awaitable[str]]
"""A key or a token; or what gives one, at once or when awaited."""


class Credentials:
    """Of several who find at once that a token has expired, one asks for the next, and all get it."""

    def __init__(self, api_key: ApiKey) -> None:
        if isinstance(api_key, str):
            _checked(api_key)
        self._source = api_key
        self._token = api_key if isinstance(api_key, str) else None
        self._asking = asyncio.Lock()

    def __repr__(self) -> str:
        return "Credentials(…)"

    @property
    def is_renewable(self) -> bool:
        return not isinstance(self._source, str)

    async def current(self) -> str:
        """The token at hand; the first one is asked for. Raises `Misused`, and whatever the callable raises."""
        return self._token if self._token is not None else await self.renewed(None)

    async def renewed(self, stale: str | None) -> str:
        """Another token than this one, where there can be another. Raises what `current` does."""
        async with self._asking:
            if isinstance(self._source, str):
                return self._source
            if self._token is None or self._token == stale:
                given = self._source()
                self._token = _checked(await given if inspect.isawaitable(given) else given)
            return self._token


def headers(token: str) -> dict[str, str]:
    """How a token is sent, over HTTP and in the handshake of a socket."""
    return {"X-API-Key": token} if token.startswith("sk_") else {"Authorization": f"Bearer {token}"}


def _checked(token: object) -> str:
    if not isinstance(token, str) or not token or not token.isascii() or not token.isprintable():
        raise Misused("api_key: must be a key or a token, or a callable that gives one")
    return token
