"""What the server says on its own account, as opposed to what the log caused. Pure."""

from __future__ import annotations

from typing import ClassVar, Final

import msgspec
from msgspec import UNSET, Struct, UnsetType

from executor.domain.errors import Code, Problem
from executor.domain.values import Instant
from hub.socket.limits import Limits


class Welcome(Struct, frozen=True):
    """`position` is the log's head. `reply_to` names the `auth` that was answered, if one was."""

    type: ClassVar[str] = "welcome"

    connection_id: str
    epoch: str
    position: int
    limits: Limits
    reply_to: str | UnsetType | None = UNSET


class Subscribed(Struct, frozen=True):
    """What follows on the channel comes after `position`. `recovered` is false where `since` was of another log, or
    something of the channel was archived since."""

    type: ClassVar[str] = "subscribed"
    reply_to: str | None
    channel: str
    position: int
    head: int
    recovered: bool


class Unsubscribed(Struct, frozen=True):
    type: ClassVar[str] = "unsubscribed"
    reply_to: str | None
    channel: str


class Pong(Struct, frozen=True):
    """Everything through `position` was sent before this, on all channels."""

    type: ClassVar[str] = "pong"

    reply_to: str | None
    position: int


class Error(Struct, frozen=True):
    """`field` is the path of what is wrong in a request; `channel` a subscription that ended without being asked;
    `retry_after` in how many seconds another message may come, where there were too many."""

    type: ClassVar[str] = "error"

    reply_to: str | None
    code: str
    message: str
    field: str | UnsetType = UNSET
    channel: str | UnsetType = UNSET
    retry_after: float | UnsetType = UNSET


class Closing(Struct, frozen=True):
    type: ClassVar[str] = "closing"
    code: int
    reason: str
    reconnect: bool
    retry_after_ms: int


Reply = Welcome | Subscribed | Unsubscribed | Pong | Error | Closing


def error(reply_to: str | None, problem: Problem, channel: str | None = None) -> Error:
    field = UNSET if problem.field is None else problem.field
    return Error(reply_to, str(problem.code), problem.message, field, UNSET if channel is None else channel)


def too_many(reply_to: str | None, seconds: float, limit: int) -> Error:
    said = f"a connection sends at most {limit} messages a second"
    return Error(reply_to, str(Code.RATE_LIMIT_EXCEEDED), said, retry_after=round(seconds, 3))


class _Message(Struct, frozen=True):
    type: str
    id: str
    timestamp: Instant
    data: Reply


_encode: Final = msgspec.json.Encoder().encode


def encode(reply: Reply, id: str, now: Instant) -> bytes:
    return _encode(_Message(reply.type, id, now, reply))
