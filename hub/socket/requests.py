"""What a client says: its text to a request, or to what is wrong with it. Pure; no text makes it raise."""

from __future__ import annotations

from collections.abc import Callable
from typing import Annotated, Any, Final

import msgspec
from msgspec import Meta, Struct
from msgspec.structs import replace

from executor.domain.errors import Code, Problem
from hub.channels import Wish
from hub.messages import Channel
from hub.socket.limits import MAX_CHANNELS, MAX_FILTERS, MAX_MESSAGE_BYTES
from hub.wishes import SAID, Said, Wrong, convert, target_of, wish_of

_TOP: Final = frozenset({"type", "id", "timestamp", "data"})


class Authenticate(Struct, frozen=True):
    reply_to: str | None
    token: str


class Subscribe(Struct, frozen=True):
    """`id` is `*` for any. `since` is exclusive. `at` is the path of this one where a message names several."""

    reply_to: str | None
    channel: Channel
    id: str
    since: int | None
    epoch: str | None
    wish: Wish
    at: str = ""


class Unsubscribe(Struct, frozen=True):
    reply_to: str | None
    channel: Channel
    id: str


class Ping(Struct, frozen=True):
    reply_to: str | None


class Refused(Struct, frozen=True):
    """Understood to be a message, and wrong: an `error` answers it."""

    reply_to: str | None
    problem: Problem


class Several(Struct, frozen=True):
    """Each is answered by itself, in this order."""

    reply_to: str | None
    requests: tuple[Subscribe | Unsubscribe | Refused, ...]


class Malformed(Struct, frozen=True):
    """Not a message at all: the connection ends."""

    reason: str


class TooBig(Struct, frozen=True):
    size: int


Request = Authenticate | Subscribe | Unsubscribe | Several | Ping | Refused | Malformed | TooBig


class _Auth(Struct, forbid_unknown_fields=True):
    token: Annotated[str, Meta(min_length=1)]


class _Empty(Struct, forbid_unknown_fields=True):
    pass


_One = Callable[..., Subscribe | Unsubscribe]
"""From what is said of one channel, `reply_to`, and its path."""


def parse(frame: str | bytes) -> Request:
    """The request in a frame. A text frame is a str; a binary one is malformed whatever it holds."""
    if isinstance(frame, bytes):
        return Malformed("messages are text frames")
    size = len(frame) if frame.isascii() else len(frame.encode("utf-8", "surrogatepass"))
    if size > MAX_MESSAGE_BYTES:
        return TooBig(size)
    try:
        whole = msgspec.json.decode(frame)
    except (ValueError, RecursionError):
        return Malformed("not JSON")
    if not isinstance(whole, dict):
        return Malformed("not an object")
    if not isinstance(whole.get("type"), str):
        return Malformed("no type")
    id = whole.get("id")
    reply_to = id if isinstance(id, str) else None
    try:
        return _request(whole, reply_to)
    except Wrong as wrong:
        return Refused(reply_to, wrong.problem)


def _request(whole: dict[str, Any], reply_to: str | None) -> Request:
    if whole.get("id") is not None and reply_to is None:
        raise Wrong(Code.VALIDATION_ERROR, "the id of a message is a text", "id")
    if unknown := sorted(whole.keys() - _TOP):
        raise Wrong(
            Code.VALIDATION_ERROR, f"a message has no field '{unknown[0]}'; what it says is in 'data'", unknown[0]
        )
    data = whole.get("data")
    data = {} if data is None else data
    if not isinstance(data, dict):
        raise Wrong(Code.VALIDATION_ERROR, "'data' is an object", "data")
    match whole["type"]:
        case "auth":
            return Authenticate(reply_to, convert(data, _Auth).token)
        case "ping":
            convert(data, _Empty)
            return Ping(reply_to)
        case "subscribe" | "unsubscribe" as type:
            one: _One = _subscribe if type == "subscribe" else _unsubscribe
            return _several(data, reply_to, one) if "channels" in data else one(data, reply_to)
        case other:
            known = "auth, subscribe, unsubscribe, ping"
            raise Wrong(Code.VALIDATION_ERROR, f"there is no message '{other}'; there are {known}", "type")


def _subscribe(data: dict[str, Any], reply_to: str | None, at: str = "") -> Subscribe:
    channel, id = target_of({name: value for name, value in data.items() if name not in SAID})
    said = convert({name: value for name, value in data.items() if name in SAID}, Said)
    return Subscribe(reply_to, channel, id, said.since, said.epoch, wish_of(said, channel), at)


def _unsubscribe(data: dict[str, Any], reply_to: str | None, at: str = "") -> Unsubscribe:
    return Unsubscribe(reply_to, *target_of(data))


def _several(data: dict[str, Any], reply_to: str | None, one: _One) -> Several:
    """What is said beside `channels` holds for each that does not say it itself."""
    channels = data["channels"]
    if not isinstance(channels, list) or not 1 <= len(channels) <= MAX_CHANNELS:
        raise Wrong(Code.VALIDATION_ERROR, f"'channels' is a list of 1 to {MAX_CHANNELS}", "channels")
    common = {name: value for name, value in data.items() if name != "channels"}
    convert(common, Said if one is _subscribe else _Empty)
    filters = {item["filter"] for item in channels if isinstance(item, dict) and isinstance(item.get("filter"), str)}
    if len(filters) > MAX_FILTERS:
        said = f"a connection has at most {MAX_FILTERS} different filters"
        raise Wrong(Code.RATE_LIMIT_EXCEEDED, said, "channels")
    return Several(
        reply_to, tuple(_one_of(index, item, common, reply_to, one) for index, item in enumerate(channels))
    )


def _one_of(
    index: int, item: Any, common: dict[str, Any], reply_to: str | None, one: _One
) -> Subscribe | Unsubscribe | Refused:
    at = f"channels[{index}]"
    if not isinstance(item, dict):
        return Refused(reply_to, Problem(Code.VALIDATION_ERROR, "a channel is an object", at))
    try:
        return one(common | item, reply_to, at)
    except Wrong as wrong:
        return Refused(reply_to, within(at, wrong.problem))


def within(at: str, problem: Problem) -> Problem:
    """A problem of one of several, with the path from the whole."""
    field = ".".join(filter(None, (at, problem.field))) or None
    return problem if field == problem.field else replace(problem, field=field)
