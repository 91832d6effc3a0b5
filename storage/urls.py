"""What a database URL says, without opening anything: a process of its own that only reads starts with little."""

from __future__ import annotations

from pathlib import Path
from urllib.parse import unquote, urlsplit

from storage.errors import WrongDatabase


def is_postgres(url: str) -> bool:
    return urlsplit(url).scheme in ("postgresql", "postgres")


def sqlite_path(url: str) -> Path:
    """The file of a `sqlite:///` URL; raises `WrongDatabase` for any other."""
    parts = urlsplit(url)
    path = unquote(parts.path.removeprefix("/"))
    if parts.scheme != "sqlite" or parts.netloc or not path:
        shown = f"{parts.scheme}:" if parts.scheme else "the text"
        raise WrongDatabase(f"{shown} is not a database URL; use sqlite:///path or postgresql://…")
    return Path(path)
