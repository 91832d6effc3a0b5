"""A hub that is loaded and delivers, and the receiver of what it delivers, each in a process of its own."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any, Final

from children import Child, open_files, running, script
from peers import Runcast, hub
from posted import FILES, HANG
from stores import fresh

EVENT: Final = "log.written"
PATIENCE: Final = 120
_CLIENTS: Final = 8
_LOOK_SECONDS: Final = 0.05
Answer = dict[str, Any]


class Receiver:
    """See `posted.py`."""

    def __init__(self, process: Child) -> None:
        self.process, self.port = process, int(process.answer()["port"])

    def url(self, number: int, *, hangs: bool = False) -> str:
        return f"http://127.0.0.1:{self.port}{HANG if hangs else ''}/{number}"


class Delivering:
    """A hub with endpoints at a receiver."""

    def __init__(self, hub: Runcast) -> None:
        self.hub, self.process, self._api = hub, hub.process, hub.api

    @contextlib.contextmanager
    def endpoints(self, fields: Sequence[Answer]) -> Iterator[None]:
        """One for each of these, which are there from the first moment on; deleted at the end, once what they got is
        written down."""
        made = self.create(fields)
        yield
        for id in made:
            self._forget(id)

    def create(self, fields: Sequence[Answer]) -> list[str]:
        with ThreadPoolExecutor(_CLIENTS) as clients:
            bodies = ({"events": [EVENT]} | each for each in fields)
            return [each["id"] for each in clients.map(lambda body: self._api("/webhooks", body), bodies)]

    def workflows(self, count: int) -> list[str]:
        definition = {"components": [{"id": "start", "type": "start"}]}
        bodies = ({"name": f"benchmark-{number}", "definition": definition} for number in range(count))
        return [self._api("/workflows", body)["id"] for body in bodies]

    def _forget(self, id: str) -> None:
        deadline = time.monotonic() + PATIENCE
        while self._api(f"/webhooks/{id}/deliveries?status=in_flight&limit=1"):
            if time.monotonic() > deadline:
                raise SystemExit(f"deliveries to webhook {id} do not end")
            time.sleep(_LOOK_SECONDS)
        self._api(f"/webhooks/{id}", method="DELETE")


@contextlib.contextmanager
def receiver() -> Iterator[Receiver]:
    open_files(FILES)
    with running(*script("posted.py")) as process:
        yield Receiver(process)


@contextlib.contextmanager
def delivering(store: str = "sqlite", directory: str | None = None) -> Iterator[Delivering]:
    """`runcast up` on a fresh store of this kind, with everything that it has."""
    open_files(FILES)
    with contextlib.ExitStack() as stack:
        settings = {}
        if store != "sqlite":
            settings["RUNCAST_DATABASE_URL"] = stack.enter_context(fresh(store, directory))
        yield Delivering(Runcast(*stack.enter_context(hub(directory, **settings))))
