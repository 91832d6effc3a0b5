"""SQL files of a backend: named statements and migrations."""

from __future__ import annotations

import re
from functools import cache
from importlib.resources import files
from typing import NamedTuple


class Migration(NamedTuple):
    version: int
    name: str
    sql: str


@cache
def named(package: str) -> dict[str, str]:
    """The statements of a package's `queries.sql` by their names: each stands under a line `-- name: …`."""
    text = files(package).joinpath("queries.sql").read_text("utf-8")
    parts = re.split(r"^-- name: (\w+)\n", text, flags=re.MULTILINE)[1:]
    return {name: sql.strip().rstrip(";") for name, sql in zip(parts[::2], parts[1::2], strict=True)}


@cache
def migrations(package: str) -> tuple[Migration, ...]:
    """Every step there is in a package, in order: `0001_initial.sql` is version 1."""
    found = (entry for entry in files(package).iterdir() if entry.name.endswith(".sql"))
    steps = (
        Migration(int(entry.name[:4]), entry.name.removesuffix(".sql"), entry.read_text("utf-8")) for entry in found
    )
    return tuple(sorted(steps))
