"""The proxy that all requests to the outside go through, where the operator names one."""

from __future__ import annotations

import base64
from typing import Final

from msgspec import Struct
from yarl import URL

_FORM: Final = "must be http://host:port or http://user:password@host:port"


class Proxy(Struct, frozen=True):
    """Where it listens, and what it wants to hear of us. Never shown with its credentials."""

    url: URL
    authorization: str | None = None
    """The value of `Proxy-Authorization`."""

    def __repr__(self) -> str:
        return f"Proxy({str(self.url)!r}{', [REDACTED]' if self.authorization else ''})"

    def headers(self) -> dict[str, str]:
        return {} if self.authorization is None else {"Proxy-Authorization": self.authorization}


def parse(text: str) -> Proxy:
    """Raises `ValueError`, whose text does not repeat the proxy's: it may hold a password."""
    try:
        url = URL(text)
        host, port = url.raw_host, url.explicit_port
    except (ValueError, UnicodeError):
        raise ValueError(f"{_FORM}; in a password write / ? # @ : [ as %2F %3F %23 %40 %3A %5B") from None
    if url.scheme != "http" or not host or not port:
        raise ValueError(_FORM)
    if url.raw_path not in ("", "/") or url.raw_query_string or url.raw_fragment:
        raise ValueError(f"{_FORM}, with nothing behind the port")
    if url.user is None:
        if url.password is not None:
            raise ValueError(f"{_FORM}: there is a password without a user")
        return Proxy(url.origin())
    if ":" in url.user:
        raise ValueError("the user's name must not hold a colon (RFC 7617, section 2)")
    credentials = base64.b64encode(f"{url.user}:{url.password or ''}".encode()).decode()
    return Proxy(url.origin(), f"Basic {credentials}")
