"""What the resources share: a request, and its data as a type."""

from __future__ import annotations

from typing import Any, TypeVar

import msgspec

from hub.client.http import Http

T = TypeVar("T")


class Resource:
    def __init__(self, http: Http) -> None:
        self._http = http

    async def _ask(self, type: type[T], method: str, *path: str, **options: Any) -> T:
        """`options` are those of `Http.send`."""
        envelope = await self._http.send(method, *path, **options)
        return msgspec.json.decode(envelope.data, type=type)


def given(**fields: Any) -> dict[str, Any]:
    """A body of what was said: None is what was not."""
    return {name: value for name, value in fields.items() if value is not None}
