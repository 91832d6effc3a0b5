"""Where a hub is: from what people write to the URLs of its REST API and of its socket."""

from __future__ import annotations

from urllib.parse import urlsplit, urlunsplit

from hub.client.errors import Misused

_PREFIX = "/api/v1"
_SCHEMES = {"http": "ws", "https": "wss"}


def api_url(base_url: str) -> str:
    """`https://host` and `https://host/api/v1` are the same hub; a path before that is a proxy's.

    Raises `Misused`, without repeating what may hold a password.
    """
    wrong = Misused("base_url: must be the URL of a hub, such as http://127.0.0.1:8000")
    try:
        parts = urlsplit(base_url.strip())
        is_readable = parts.scheme in _SCHEMES and bool(parts.hostname) and parts.port != 0
    except ValueError:
        raise wrong from None
    if not is_readable:
        raise wrong
    if "@" in parts.netloc:
        raise Misused("base_url: must hold no credentials; give an api_key")
    if parts.query or parts.fragment:
        raise Misused("base_url: must end with the host, or a path")
    path = parts.path.rstrip("/").removesuffix(_PREFIX)
    return urlunsplit((parts.scheme, parts.netloc, path + _PREFIX, "", ""))


def socket_url(api: str) -> str:
    parts = urlsplit(api)
    return urlunsplit((_SCHEMES[parts.scheme], parts.netloc, f"{parts.path}/ws", "", ""))
