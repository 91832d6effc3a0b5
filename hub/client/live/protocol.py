"""What is said and understood on one socket: a state machine without I/O, over all connections of its life.

    welcome ─► every course is asked for ─► subscribed ─► its messages, each once, in order
    lost    ─► all courses wait for the next welcome, each where it has come to

A course is one subscription on its way through the log. It has come to `position` when its reader has been handed all
through there, or nothing else was before it.
"""

from __future__ import annotations

from enum import Enum
from typing import Any, Final, NamedTuple

import msgspec

from hub.client.errors import Problem
from hub.client.live.message import GAP, Message, Wish

_LONGEST: Final = 64 * 1024
"""Bytes of a message to the hub: it closes the socket on a longer one."""
_TEMPORARY: Final = frozenset({"SERVICE_UNAVAILABLE", "SYSTEM_ERROR"})
_LATER_TEMPORARY: Final = _TEMPORARY | {"RATE_LIMIT_EXCEEDED"}
"""Also temporary for what was granted before: what counts against the limit may be the connection that broke."""


class Phase(Enum):
    WAITING = 1
    """For a connection, or to be asked for again."""
    ASKED = 2
    LIVE = 3
    ASIDE = 4
    """Its reader is slow: nothing is sent for it until it asks again."""
    OVER = 5


class Course:
    """`position` and `epoch` are where it is resumed; None for the head. `heard` is the last message's position, or
    where it was granted: what is not after that is a repeat."""

    def __init__(self, wish: Wish, position: int | None = None, epoch: str | None = None) -> None:
        self.wish, self.position, self.epoch = wish, position, epoch
        self.heard = -1
        self.phase = Phase.WAITING
        self.request_id = ""
        self.was_granted = False

    def passed(self, message: Message) -> None:
        """The message was handed on."""
        if message.position is not None:
            self.heard = max(self.heard, message.position)
            self.position = max(self.position or 0, message.position)


class Send(NamedTuple):
    text: bytes


class Welcomed(NamedTuple):
    """The connection is open, and the credentials hold. The hub may say how many messages it takes at once, and how
    many in a second."""

    burst: float | None = None
    a_second: float | None = None


class Granted(NamedTuple):
    """`gap` is what the reader must be told before anything that follows."""

    course: Course
    gap: Message | None


class Deliver(NamedTuple):
    course: Course
    message: Message


class Refused(NamedTuple):
    """Over; or, where `is_temporary`, to be asked for again."""

    course: Course
    problem: Problem
    is_temporary: bool


class Closing(NamedTuple):
    """What the hub says before it closes."""

    code: int
    reason: str
    reconnect: bool
    retry_after_seconds: float


Output = Send | Welcomed | Granted | Deliver | Refused | Closing
Outputs = list[Output]

_decode: Final = msgspec.json.Decoder(Message).decode
_encode: Final = msgspec.json.Encoder().encode


class Protocol:
    """Whoever calls does the outputs in order, and calls `Course.passed` for each `Deliver` before the next input."""

    def __init__(self) -> None:
        self.epoch: str | None = None
        self.is_open = False
        self._courses: dict[str, Course] = {}
        """By the channel's name."""
        self._asked: dict[str, Course] = {}
        self._count = 0

    # what people want

    def add(self, course: Course) -> Outputs:
        """A course that overlaps with none here."""
        self._courses[course.wish.name] = course
        return self._ask(course) if self.is_open else []

    def remove(self, course: Course) -> Outputs:
        """May be called twice."""
        was_known = course.phase in (Phase.ASKED, Phase.LIVE)
        self._forget(course)
        return [self._unsubscribe(course)] if was_known and self.is_open else []

    def set_aside(self, course: Course) -> Outputs:
        """The hub is to send no more of it. What is on its way is dropped, and comes again after `resume`."""
        if course.phase is not Phase.LIVE:
            return []
        course.phase = Phase.ASIDE
        return [self._unsubscribe(course)]

    def resume(self, course: Course) -> Outputs:
        """One that was set aside, or refused for the time being."""
        if course.phase not in (Phase.ASIDE, Phase.WAITING):
            return []
        course.phase = Phase.WAITING
        return self._ask(course) if self.is_open else []

    def ping(self) -> Send:
        return self._send("ping", {})[1]

    def authenticate(self, token: str) -> Send:
        return self._send("auth", {"token": token})[1]

    # what comes in

    def lost(self) -> None:
        self.is_open = False
        self._asked.clear()
        for course in self._courses.values():
            if course.phase in (Phase.ASKED, Phase.LIVE):
                course.phase = Phase.WAITING

    def received(self, text: str | bytes) -> Outputs:
        """Raises `msgspec.DecodeError` and `UnicodeDecodeError` for what is no message."""
        message = _decode(text)
        if message.channel is not None:
            return self._cast(message)
        match message.type:
            case "welcome":
                return self._welcome(message.data)
            case "subscribed":
                return self._subscribed(message)
            case "error":
                return self._refused(message.data)
            case "pong":
                self._pong(message.data)
            case "closing":
                return [_closing(message.data)]
        return []

    def _cast(self, message: Message) -> Outputs:
        """A message of a channel, to the one course that it can be of; what that has passed already, to none."""
        course = self._courses.get(message.channel or "")
        if course is None:
            kind = (message.channel or "").partition(":")[0]
            course = next((each for each in self._courses.values() if _is_of(each.wish, kind)), None)
        if course is None or course.phase is not Phase.LIVE:
            return []
        if message.position is not None and message.position <= course.heard:
            return []
        return [Deliver(course, message)]

    def _welcome(self, data: dict[str, Any]) -> Outputs:
        """The first one of a connection; later ones answer a renewal."""
        self.epoch = data.get("epoch")
        if self.is_open:
            return []
        self.is_open = True
        waiting = [course for course in self._courses.values() if course.phase is Phase.WAITING]
        limits = data.get("limits") or {}
        welcomed = Welcomed(limits.get("message_burst"), limits.get("messages_per_second"))
        return [welcomed, *(output for course in waiting for output in self._ask(course))]

    def _subscribed(self, message: Message) -> Outputs:
        course = self._asked.pop(str(message.data.get("reply_to")), None)
        if course is None:
            return []
        gap = self._gap(course, message) if message.data.get("recovered") is False else None
        course.phase, course.was_granted = Phase.LIVE, True
        course.position, course.epoch = message.data.get("position"), self.epoch
        course.heard = -1 if course.position is None else course.position
        return [Granted(course, gap)]

    def _gap(self, course: Course, subscribed: Message) -> Message:
        is_another_log = course.epoch is not None and course.epoch != self.epoch
        return Message(
            type=GAP,
            id=subscribed.id,
            timestamp=subscribed.timestamp,
            channel=course.wish.name,
            position=subscribed.data.get("position"),
            data={
                "reason": "another_log" if is_another_log else "archived",
                "since": course.position,
                "epoch": self.epoch,
            },
        )

    def _refused(self, data: dict[str, Any]) -> Outputs:
        """A request's answer, or a subscription that ended without being asked."""
        course = self._asked.pop(str(data.get("reply_to")), None) or self._courses.get(str(data.get("channel")))
        if course is None or course.phase is Phase.OVER:
            return []
        problem = Problem(code=str(data.get("code")), message=str(data.get("message")), field=data.get("field"))
        return self._refuse(course, problem)

    def _refuse(self, course: Course, problem: Problem) -> Outputs:
        is_temporary = problem.code in (_LATER_TEMPORARY if course.was_granted else _TEMPORARY)
        course.phase = Phase.WAITING
        if not is_temporary:
            self._forget(course)
        return [Refused(course, problem, is_temporary)]

    def _pong(self, data: dict[str, Any]) -> None:
        """All of the hub's channels were sent through a position: nobody needs to look before it again."""
        position = data.get("position")
        for course in self._courses.values():
            if course.phase is Phase.LIVE and isinstance(position, int):
                course.position = max(course.position or 0, position)

    # what is said

    def _ask(self, course: Course) -> Outputs:
        wish = course.wish
        data: dict[str, Any] = {"channel": wish.kind, **wish.keys}
        said = {"since": course.position, "types": wish.types or None, "filter": wish.filter, "mode": wish.mode}
        if course.position is not None:
            said["epoch"] = course.epoch
        data |= {name: value for name, value in said.items() if value is not None}
        id, send = self._send("subscribe", data)
        if len(send.text) > _LONGEST:
            problem = Problem(code="PAYLOAD_TOO_LARGE", message=f"the subscription is longer than {_LONGEST} bytes")
            return self._refuse(course, problem)
        course.phase, course.request_id = Phase.ASKED, id
        self._asked[id] = course
        return [send]

    def _unsubscribe(self, course: Course) -> Send:
        return self._send("unsubscribe", {"channel": course.wish.kind, **course.wish.keys})[1]

    def _forget(self, course: Course) -> None:
        course.phase = Phase.OVER
        self._asked.pop(course.request_id, None)
        if self._courses.get(course.wish.name) is course:
            del self._courses[course.wish.name]

    def _send(self, type: str, data: dict[str, Any]) -> tuple[str, Send]:
        self._count += 1
        id = str(self._count)
        return id, Send(_encode({"type": type, "id": id, "data": data}))


def _is_of(wish: Wish, kind: str) -> bool:
    return wish.is_broad and wish.kind == kind


def _closing(data: dict[str, Any]) -> Closing:
    """`reconnect` is true unless the hub says no."""
    milliseconds = data.get("retry_after_ms")
    seconds = milliseconds / 1000 if isinstance(milliseconds, int | float) else 0.0
    return Closing(
        int(data.get("code") or 0), str(data.get("reason") or ""), data.get("reconnect") is not False, seconds
    )
