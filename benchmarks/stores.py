"""The stores that benchmarks run on, fresh and durable: an SQLite file, and a PostgreSQL server of the wheel."""

from __future__ import annotations

import contextlib
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))  # the tests' PostgreSQL stands in the checkout, not in a package

from tests.postgres import PostgresServer

STORES = ("sqlite", "postgres")


@contextlib.contextmanager
def fresh(store: str, directory: str | None = None) -> Iterator[str]:
    """The URL of an empty database on the disk of `directory`."""
    with tempfile.TemporaryDirectory(prefix="runcast-bench-", dir=directory) as path:
        if store == "sqlite":
            yield f"sqlite:///{path}/runcast.db"
            return
        Path(path).chmod(0o755)
        place = Path(path) / "pg"
        place.mkdir()
        server = PostgresServer(place, is_durable=True)
        server.start()
        try:
            yield server.url()
        finally:
            server.remove()
