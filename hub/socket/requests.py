"""What a client says: its text to a request, or to what is wrong with it. Pure; no text makes it raise."""

from __future__ import annotations

import re
from typing import Annotated, Any, Final, TypeVar

import msgspec
from msgspec import Meta, Struct

from executor.domain.errors import Code, Problem
from executor.domain.values import is_ulid
from hub.channels import ANY, ASSIGNEE, Wish
from hub.messages import Channel, matching_types, message_types
from hub.socket.limits import MAX_MESSAGE_BYTES

_MAX_PATTERNS: Final = 100
_LATER: Final = ("webhook", "system")
_FIELD: Final = re.compile(r" - at `\$\.?(.*)`$")
_TOP: Final = frozenset({"type", "id", "timestamp", "data"})


class Authenticate(Struct, frozen=True):
    reply_to: str | None
    token: str


class Subscribe(Struct, frozen=True):
    """`id` is `*` for any. `since` is exclusive."""

    reply_to: str | None
    channel: Channel
    id: str
    since: int | None
    epoch: str | None
    wish: Wish


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


class Malformed(Struct, frozen=True):
    """Not a message at all: the connection ends."""

    reason: str


class TooBig(Struct, frozen=True):
    size: int


Request = Authenticate | Subscribe | Unsubscribe | Ping | Refused | Malformed | TooBig


class _Auth(Struct, forbid_unknown_fields=True):
    token: Annotated[str, Meta(min_length=1)]


class _Empty(Struct, forbid_unknown_fields=True):
    pass


class _Execution(Struct, forbid_unknown_fields=True):
    channel: str
    execution_id: str


class _Workflow(Struct, forbid_unknown_fields=True):
    channel: str
    workflow_id: str


class _Task(Struct, forbid_unknown_fields=True):
    channel: str
    task_id: str | None = None
    assignee: Annotated[str, Meta(min_length=1, max_length=255)] | None = None


class _Events(Struct, forbid_unknown_fields=True):
    channel: str


class _Replay(Struct, forbid_unknown_fields=True):
    channel: str
    replay_id: str


class _Said(Struct, forbid_unknown_fields=True):
    """What any subscription may say beside its channel and its key."""

    since: Annotated[int, Meta(ge=0)] | None = None
    epoch: str | None = None
    types: Annotated[list[str], Meta(max_length=_MAX_PATTERNS)] | None = None


_WISHES: Final = frozenset(_Said.__struct_fields__)


class _Wrong(Exception):
    def __init__(self, code: Code, message: str, field: str | None = None) -> None:
        self.problem = Problem(code, message, field)


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
    except _Wrong as wrong:
        return Refused(reply_to, wrong.problem)


def _request(whole: dict[str, Any], reply_to: str | None) -> Request:
    if whole.get("id") is not None and reply_to is None:
        raise _Wrong(Code.VALIDATION_ERROR, "the id of a message is a text", "id")
    if unknown := sorted(whole.keys() - _TOP):
        raise _Wrong(
            Code.VALIDATION_ERROR, f"a message has no field '{unknown[0]}'; what it says is in 'data'", unknown[0]
        )
    data = whole.get("data")
    data = {} if data is None else data
    if not isinstance(data, dict):
        raise _Wrong(Code.VALIDATION_ERROR, "'data' is an object", "data")
    match whole["type"]:
        case "auth":
            return Authenticate(reply_to, _convert(data, _Auth).token)
        case "ping":
            _convert(data, _Empty)
            return Ping(reply_to)
        case "subscribe":
            return _subscribe(data, reply_to)
        case "unsubscribe":
            return Unsubscribe(reply_to, *_target(data))
        case other:
            known = "auth, subscribe, unsubscribe, ping"
            raise _Wrong(Code.VALIDATION_ERROR, f"there is no message '{other}'; there are {known}", "type")


def _subscribe(data: dict[str, Any], reply_to: str | None) -> Subscribe:
    channel, id = _target({name: value for name, value in data.items() if name not in _WISHES})
    said = _convert({name: value for name, value in data.items() if name in _WISHES}, _Said)
    return Subscribe(reply_to, channel, id, said.since, said.epoch, Wish(_types(said.types, channel)))


def _target(data: dict[str, Any]) -> tuple[Channel, str]:
    """Which channel is meant. Of an id that cannot be one there is nothing to be found."""
    name = data.get("channel")
    match name:
        case Channel.EXECUTION:
            id, key = _convert(data, _Execution).execution_id, "execution_id"
        case Channel.WORKFLOW:
            id, key = _convert(data, _Workflow).workflow_id, "workflow_id"
        case Channel.TASK:
            task = _convert(data, _Task)
            if (task.task_id is None) is (task.assignee is None):
                said = "say which tasks: 'task_id' (or '*'), or 'assignee'"
                raise _Wrong(Code.VALIDATION_ERROR, said, "task_id")
            if task.assignee is not None:
                return Channel.TASK, ASSIGNEE + task.assignee
            id, key = task.task_id or "", "task_id"
        case Channel.REPLAY:
            id, key = _convert(data, _Replay).replay_id, "replay_id"
        case Channel.EVENTS:
            _convert(data, _Events)
            return Channel.EVENTS, ANY
        case _:
            raise _no_channel(name)
    if not is_ulid(id) and (id != ANY or name == Channel.REPLAY):
        raise _Wrong(Code.RESOURCE_NOT_FOUND, f"{name} '{id[:64]}' was not found", key)
    return Channel(name), id


def _no_channel(name: object) -> _Wrong:
    known = ", ".join(Channel)
    if not isinstance(name, str):
        return _Wrong(Code.VALIDATION_ERROR, f"'channel' is one of {known}", "channel")
    there = "cannot be subscribed to yet" if name in _LATER else "is unknown"
    return _Wrong(Code.VALIDATION_ERROR, f"channel '{name[:64]}' {there}; there are {known}", "channel")


def _types(patterns: list[str] | None, channel: Channel) -> frozenset[str] | None:
    """The types that the patterns match; each of them has to match some that have a message on the channel."""
    if not patterns:
        return None
    sent, found = message_types(channel), frozenset[str]()
    for index, pattern in enumerate(patterns):
        matched = matching_types(pattern[:128])
        if not matched if sent is None else not matched & sent:
            field = f"types[{index}]"
            said = f"'{pattern[:64]}' matches no type of event that channel '{channel}' has"
            raise _Wrong(Code.VALIDATION_ERROR, said, field)
        found |= matched
    return found


S = TypeVar("S")


def _convert(data: dict[str, Any], type: type[S]) -> S:
    try:
        return msgspec.convert(data, type)
    except msgspec.ValidationError as error:
        message = str(error)
        where = _FIELD.search(message)
        if where is not None:
            raise _Wrong(Code.VALIDATION_ERROR, message[: where.start()], where[1] or None) from None
        named = re.search(r"field `(.*)`$", message, re.DOTALL)
        raise _Wrong(Code.VALIDATION_ERROR, message[:256], named[1][:64] if named else None) from None
