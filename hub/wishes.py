"""What clients say of channels, over whichever door: which one is meant, and what of it is wanted. Pure."""

from __future__ import annotations

import re
from typing import Annotated, Any, Final, TypeVar

import msgspec
from msgspec import Meta, Struct

from executor.domain.errors import Code, Problem
from executor.domain.values import is_ulid
from executor.expressions import ExpressionError
from hub.channels import ANY, ASSIGNEE, Wish
from hub.filters import require_condition
from hub.messages import SINGLE, Channel, matching_types, message_types

_MAX_PATTERNS: Final = 100
_CHANNELS: Final = {str(channel): channel for channel in Channel}
_FIELD: Final = re.compile(r" - at `\$\.?(.*)`$")


class Wrong(Exception):
    """`problem` says what is wrong, and in which field."""

    def __init__(self, code: Code, message: str, field: str | None = None) -> None:
        self.problem = Problem(code, message, field)


class _Single(Struct, forbid_unknown_fields=True):
    channel: str


class _Execution(Struct, forbid_unknown_fields=True):
    channel: str
    execution_id: str


class _Workflow(Struct, forbid_unknown_fields=True):
    channel: str
    workflow_id: str


class _Webhook(Struct, forbid_unknown_fields=True):
    channel: str
    webhook_id: str


class _Replay(Struct, forbid_unknown_fields=True):
    channel: str
    replay_id: str


_KEYED: Final[dict[str, type[Struct]]] = {
    Channel.EXECUTION: _Execution,
    Channel.WORKFLOW: _Workflow,
    Channel.WEBHOOK: _Webhook,
    Channel.REPLAY: _Replay,
}


class _Task(Struct, forbid_unknown_fields=True):
    channel: str
    task_id: str | None = None
    assignee: Annotated[str, Meta(min_length=1, max_length=255)] | None = None


class Said(Struct, forbid_unknown_fields=True):
    """What any subscription may say beside its channel and its key."""

    since: Annotated[int, Meta(ge=0)] | None = None
    epoch: str | None = None
    types: Annotated[list[str], Meta(max_length=_MAX_PATTERNS)] | None = None
    filter: str | None = None
    mode: str | None = None


SAID: Final = frozenset(Said.__struct_fields__)
_MODES: Final = ("all", "latest")


def wish_of(said: Said, channel: Channel) -> Wish:
    """Its condition has still to be checked, by `require_filter`: that costs milliseconds, which not everybody may
    ask for. Raises `Wrong`."""
    if said.mode is not None and said.mode not in _MODES:
        raise Wrong(Code.VALIDATION_ERROR, f"'mode' is one of {', '.join(_MODES)}", "mode")
    return Wish(_types(said.types, channel), said.filter, said.mode == "latest")


def require_filter(text: str) -> None:
    """Raises `Wrong`."""
    try:
        require_condition(text)
    except ExpressionError as error:
        raise Wrong(Code.VALIDATION_ERROR, str(error)[:256], "filter") from None


def target_of(data: dict[str, Any]) -> tuple[Channel, str]:
    """Which channel is meant, and its id. Where an id cannot be one, nothing was found. Raises `Wrong`."""
    name = data.get("channel")
    if not isinstance(name, str):
        raise Wrong(Code.VALIDATION_ERROR, f"'channel' is one of {', '.join(_CHANNELS)}", "channel")
    if (channel := _CHANNELS.get(name)) is None:
        kind, colon, _ = name.partition(":")
        if colon and kind in _CHANNELS and kind not in SINGLE:
            said = f'the key of a channel stands beside it: "channel": "{kind}", "{kind}_id": …'
        else:
            said = f"channel '{name[:64]}' is unknown; there are {', '.join(_CHANNELS)}"
        raise Wrong(Code.VALIDATION_ERROR, said, "channel")
    if channel in SINGLE:
        convert(data, _Single)
        return channel, ANY
    return channel, _id_of(data, channel)


def named(text: str) -> tuple[Channel, str]:
    """A channel by its name, as messages say it: `execution:ID`, `workflow:*`, `task:assignee:NAME`, `events`. Raises
    `Wrong`."""
    name, colon, id = text.partition(":")
    if name == Channel.REPLAY:
        raise Wrong(
            Code.VALIDATION_ERROR, "the channel of a replay is a stream of its own; say 'replay_id'", "channel"
        )
    data: dict[str, Any] = {"channel": name}
    if colon and name in _CHANNELS and name not in SINGLE:
        data |= {"assignee": id.removeprefix(ASSIGNEE)} if id.startswith(ASSIGNEE) else {f"{name}_id": id}
    elif colon or (name in _CHANNELS and name not in SINGLE):
        said = (
            f"'{text[:64]}' is no channel; write it as execution:ID, workflow:*, task:assignee:NAME, events or system"
        )
        raise Wrong(Code.VALIDATION_ERROR, said, "channel")
    return target_of(data)


def _id_of(data: dict[str, Any], channel: Channel) -> str:
    field = f"{channel}_id"
    if channel is Channel.TASK:
        task = convert(data, _Task)
        if (task.task_id is None) is (task.assignee is None):
            raise Wrong(Code.VALIDATION_ERROR, "say which tasks: 'task_id' (or '*'), or 'assignee'", field)
        if task.assignee is not None:
            return ASSIGNEE + task.assignee
        id = task.task_id or ""
    elif data.keys() == {"channel"}:
        which = "" if channel is Channel.REPLAY else ", or '*' for any"
        raise Wrong(Code.VALIDATION_ERROR, f"say which {channel}: '{field}'{which}", field)
    else:
        id = getattr(convert(data, _KEYED[channel]), field)
    if not is_ulid(id) and (id != ANY or channel is Channel.REPLAY):
        raise Wrong(Code.RESOURCE_NOT_FOUND, f"{channel} '{id[:64]}' was not found", field)
    return id


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
            raise Wrong(Code.VALIDATION_ERROR, said, field)
        found |= matched
    return found


S = TypeVar("S")


def convert(data: dict[str, Any], type: type[S]) -> S:
    try:
        return msgspec.convert(data, type)
    except msgspec.ValidationError as error:
        message = str(error)
        where = _FIELD.search(message)
        if where is not None:
            raise Wrong(Code.VALIDATION_ERROR, message[: where.start()], where[1] or None) from None
        named = re.search(r"field `(.*)`$", message, re.DOTALL)
        raise Wrong(Code.VALIDATION_ERROR, message[:256], named[1][:64] if named else None) from None
