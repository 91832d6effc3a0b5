"""Lists: awaited they are their first page, iterated over they are all there is, page after page."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Generator, Iterator
from typing import Any, Generic, TypeVar

import msgspec
from msgspec import Struct

from hub.client.http import Http
from hub.client.types import Metadata

T = TypeVar("T")

Following = Callable[["Page[Any]"], dict[str, Any] | None]
"""From a page to what the query of the next one says in addition; None where there is none."""


class Page(Struct, Generic[T], frozen=True):
    """`metadata.total_count` is null where counting would cost too much."""

    items: tuple[T, ...]
    metadata: Metadata

    def __iter__(self) -> Iterator[T]:
        return iter(self.items)

    def __len__(self) -> int:
        return len(self.items)

    def __getitem__(self, index: int) -> T:
        return self.items[index]

    @property
    def has_more(self) -> bool:
        return self.metadata.has_more


def by_cursor(page: Page[Any]) -> dict[str, Any] | None:
    metadata = page.metadata
    if not metadata.has_more or metadata.next_cursor is None:
        return None
    return {"cursor": metadata.next_cursor, "offset": None}


class Listing(Generic[T]):
    """`await` it for its first page; `async for` goes through all items, `pages()` through all pages."""

    def __init__(
        self,
        http: Http,
        path: tuple[str, ...],
        item: type[T],
        query: dict[str, Any],
        following: Following = by_cursor,
    ) -> None:
        self._http, self._path, self._item = http, path, item
        self._query, self._following = query, following

    def __await__(self) -> Generator[Any, None, Page[T]]:
        return self._page(self._query).__await__()

    async def __aiter__(self) -> AsyncIterator[T]:
        async for page in self.pages():
            for item in page:
                yield item

    async def pages(self) -> AsyncIterator[Page[T]]:
        query: dict[str, Any] | None = self._query
        while query is not None:
            page = await self._page(query)
            yield page
            following = self._following(page)
            query = None if following is None else self._query | following

    async def _page(self, query: dict[str, Any]) -> Page[T]:
        envelope = await self._http.send("GET", *self._path, query=query)
        items = msgspec.json.decode(envelope.data, type=tuple[self._item, ...])  # type: ignore[name-defined]
        return Page(items, envelope.metadata)
