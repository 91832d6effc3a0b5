"""What a database URL says, without opening anything: a process of its own that only reads starts with little."""

from __future__ import annotations

from pathlib import Path
from urllib.parse import parse_qs, unquote, urlsplit

from storage.errors import WrongDatabase


def is_postgres(url: str) -> bool:
    return urlsplit(url).scheme in ("postgresql", "postgres")


def shown(url: str) -> str:
    """A database's URL as people may see it: without user, password and options, but for a socket's directory."""
    if not is_postgres(url):
        return f"sqlite:///{sqlite_path(url).absolute()}"
    parts = urlsplit(url)
    host = parts.hostname or parse_qs(parts.query).get("host", [""])[0]
    port = f":{parts.port}" if parts.port else ""
    return f"postgresql://{host}{port}{parts.path}"


def sqlite_path(url: str) -> Path:
    """The file of a `sqlite:///` URL; raises `WrongDatabase` for any other."""
    parts = urlsplit(url)
    path = unquote(parts.path.removeprefix("/"))
    if parts.scheme != "sqlite" or parts.netloc or not path:
        shown = f"{parts.scheme}:" if parts.scheme else "the text"
        raise WrongDatabase(f"{shown} is not a database URL; use sqlite:///path or postgresql://…")
    return Path(path)
