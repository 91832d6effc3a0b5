from __future__ import annotations

from typing import Any

import msgspec
import pytest

from hub.client.live.codes import After, after
from hub.client.live.message import Message, Wish, wish_of
from hub.client.live.protocol import (
    Closing,
    Course,
    Deliver,
    Granted,
    Output,
    Phase,
    Protocol,
    Refused,
    Send,
    Welcomed,
)


def wish(kind: str, types: str | None = None, **keys: str) -> Wish:
    return wish_of(kind, keys, types, None, None)


EVENTS = wish("events")
RUN = wish("execution", execution_id="e1")


class Hub:
    """The other side, as far as a protocol sees it."""

    def __init__(self, *courses: Course) -> None:
        self.protocol = Protocol()
        for course in courses:
            assert self.protocol.add(course) == [], "nothing is said before the welcome"

    def say(self, type: str, **data: Any) -> list[Output]:
        """On its own account."""
        return self.hear({"type": type, "id": "m", "timestamp": "t", "data": data})

    def cast(self, type: str, channel: str, position: int, **data: Any) -> list[Output]:
        """What the log caused."""
        return self.hear({"type": type, "id": "m", "channel": channel, "position": position, "data": data})

    def hear(self, message: dict[str, Any]) -> list[Output]:
        found = self.protocol.received(msgspec.json.encode(message))
        for output in found:
            if isinstance(output, Deliver):
                output.course.passed(output.message)
        return found

    def welcome(self, epoch: str = "log-1") -> list[dict[str, Any]]:
        """What is said to it."""
        first, *rest = self.say("welcome", epoch=epoch, position=100)
        assert isinstance(first, Welcomed)
        return said(rest)

    def grant(self, request: dict[str, Any], position: int, recovered: bool = True) -> list[Output]:
        data = request["data"]
        return self.say(
            "subscribed",
            reply_to=request["id"],
            channel=data["channel"],
            position=position,
            head=100,
            recovered=recovered,
        )

    def event(self, position: int, channel: str = "events") -> list[int | None]:
        """The positions that come out of it."""
        found = self.cast("event", channel, position)
        return [output.message.position for output in found if isinstance(output, Deliver)]


def said(outputs: list[Output]) -> list[dict[str, Any]]:
    return [msgspec.json.decode(output.text) for output in outputs if isinstance(output, Send)]


def live(course: Course, position: int = 0) -> Hub:
    hub = Hub(course)
    (request,) = hub.welcome()
    hub.grant(request, position)
    assert course.phase is Phase.LIVE
    return hub


def test_every_course_is_asked_for_once_the_hub_has_welcomed() -> None:
    hub = Hub(Course(EVENTS, 7, "log-1"), Course(wish("task", "task.*", assignee="ada")))
    first, second = hub.welcome()
    assert first["data"] == {"channel": "events", "since": 7, "epoch": "log-1"}
    assert second["data"] == {"channel": "task", "assignee": "ada", "types": ["task.*"]}
    assert (first["type"], first["id"] != second["id"]) == ("subscribe", True)
    later = said(hub.protocol.add(Course(RUN)))
    assert later[0]["data"] == {"channel": "execution", "execution_id": "e1"}


def test_a_message_is_delivered_once_in_order_and_after_what_the_course_has_passed() -> None:
    course = Course(EVENTS, 4)
    hub = live(course, 4)
    assert [hub.event(n) for n in (3, 4, 5, 5, 7, 6)] == [[], [], [5], [], [7], []]
    assert (course.position, course.epoch) == (7, "log-1")


def test_after_a_cut_each_course_is_resumed_where_it_has_come_to() -> None:
    course = Course(EVENTS)
    hub = live(course, 10)
    hub.event(12)
    hub.protocol.lost()
    assert hub.event(13) == [], "what the old connection still brings is not of the new one"
    (request,) = hub.welcome()
    assert request["data"] == {"channel": "events", "since": 12, "epoch": "log-1"}
    assert hub.event(13) == [], "nothing comes before it is granted"
    assert hub.grant(request, 12) == [Granted(course, None)]
    assert hub.event(13) == [13]


def test_one_that_had_nothing_yet_is_resumed_at_the_head_that_it_began_at() -> None:
    hub = live(Course(EVENTS), 55)
    hub.protocol.lost()
    assert hub.welcome()[0]["data"]["since"] == 55


def test_a_pong_moves_those_who_are_live_and_nobody_back() -> None:
    quiet, ahead, aside = Course(EVENTS), Course(RUN, 90), Course(wish("task", task_id="*"))
    hub = Hub(quiet, ahead, aside)
    for request, position in zip(hub.welcome(), (10, 90, 10), strict=True):
        hub.grant(request, position)
    hub.protocol.set_aside(aside)
    assert hub.say("pong", reply_to="9", position=70) == []
    assert (quiet.position, ahead.position, aside.position) == (70, 90, 10)


def test_a_course_that_is_set_aside_loses_nothing() -> None:
    course = Course(EVENTS)
    hub = live(course, 10)
    assert said(hub.protocol.set_aside(course))[0]["type"] == "unsubscribe"
    assert hub.protocol.set_aside(course) == []
    assert hub.event(11) == []
    (request,) = said(hub.protocol.resume(course))
    assert request["data"]["since"] == 10
    assert hub.event(12) == [], "it was on its way before"
    hub.grant(request, 10)
    assert [hub.event(n) for n in (11, 12)] == [[11], [12]]


def test_one_that_is_aside_stays_so_through_a_cut() -> None:
    course = Course(EVENTS)
    hub = live(course, 10)
    hub.protocol.set_aside(course)
    hub.protocol.lost()
    assert hub.welcome() == []
    assert said(hub.protocol.resume(course))[0]["data"]["since"] == 10


@pytest.mark.parametrize(("epoch", "reason", "position"), [("log-2", "another_log", 100), ("log-1", "archived", 12)])
def test_what_is_not_recovered_is_a_gap(epoch: str, reason: str, position: int) -> None:
    course = Course(EVENTS, 12, "log-1")
    hub = Hub(course)
    (request,) = hub.welcome(epoch)
    (granted,) = hub.grant(request, position, recovered=False)
    assert isinstance(granted, Granted)
    assert granted.gap is not None
    assert granted.gap.data == {"reason": reason, "since": 12, "epoch": epoch}
    assert (granted.gap.position, granted.gap.channel, granted.gap.is_gap) == (position, "events", True)
    assert (course.position, course.epoch) == (position, epoch)


def test_a_refusal_ends_one_course_and_no_other() -> None:
    refused, other = Course(RUN), Course(EVENTS)
    hub = Hub(refused, other)
    first, second = hub.welcome()
    (output,) = hub.say("error", reply_to=first["id"], code="RESOURCE_NOT_FOUND", message="no", field="execution_id")
    assert isinstance(output, Refused)
    assert (output.course, output.problem.field, output.is_temporary) == (refused, "execution_id", False)
    hub.grant(second, 0)
    assert hub.event(1) == [1]
    hub.protocol.lost()
    assert len(hub.welcome()) == 1, "nobody asks for what was refused"


@pytest.mark.parametrize(
    ("code", "was_granted", "is_temporary"),
    [
        ("SERVICE_UNAVAILABLE", False, True),
        ("RATE_LIMIT_EXCEEDED", False, False),
        ("RATE_LIMIT_EXCEEDED", True, True),
        ("INVALID_POSITION", True, False),
    ],
)
def test_a_temporary_refusal_is_asked_for_again(code: str, was_granted: bool, is_temporary: bool) -> None:
    course = Course(EVENTS)
    course.was_granted = was_granted
    hub = Hub(course)
    (request,) = hub.welcome()
    (output,) = hub.say("error", reply_to=request["id"], code=code, message="no")
    assert isinstance(output, Refused)
    assert output.is_temporary is is_temporary
    assert len(said(hub.protocol.resume(course))) == is_temporary


def test_a_subscription_that_the_hub_withdraws_is_over() -> None:
    course = Course(RUN)
    hub = live(course)
    withdrawn = {"reply_to": None, "code": "AUTHORIZATION_ERROR", "message": "no"}
    assert hub.say("error", channel="events", **withdrawn) == [], "it is another one"
    (output,) = hub.say("error", channel="execution:e1", **withdrawn)
    assert isinstance(output, Refused)
    assert course.phase is Phase.OVER


def test_the_error_of_a_component_is_a_message() -> None:
    hub = live(Course(RUN))
    (output,) = hub.cast("error", "execution:e1", 3, error="it failed", final=True)
    assert isinstance(output, Deliver)
    assert output.message.data["error"] == "it failed"


def test_what_nobody_wants_any_more_is_unsubscribed_and_dropped() -> None:
    course = Course(EVENTS)
    hub = live(course)
    assert said(hub.protocol.remove(course))[0]["data"] == {"channel": "events"}
    assert hub.protocol.remove(course) == []
    assert hub.event(1) == []


def test_messages_of_things_come_to_the_broad_course_of_their_kind() -> None:
    course = Course(wish("task", assignee="ada"))
    hub = live(course)
    assert [hub.event(1, "task:t1"), hub.event(2, "execution:e1"), hub.event(3, "task:t2")] == [[1], [], [3]]


def test_a_renewal_asks_for_nothing_anew() -> None:
    hub = live(Course(EVENTS))
    send = hub.protocol.authenticate("token")
    assert said([send])[0]["data"] == {"token": "token"}
    assert hub.say("welcome", epoch="log-1", position=5, reply_to="3") == []
    assert hub.event(1) == [1]


def test_a_closing_is_told() -> None:
    hub = live(Course(EVENTS))
    said_last = hub.say("closing", code=1012, reason="restart", reconnect=True, retry_after_ms=1500)
    assert said_last == [Closing(1012, "restart", True, 1.5)]


@pytest.mark.parametrize("text", [b"", b"5", b"{}", b'{"type": 5}', b'{"type":"event","position":"x"}', b"\xff"])
def test_what_is_no_message_is_said_so(text: bytes) -> None:
    with pytest.raises((msgspec.DecodeError, UnicodeDecodeError)):
        Protocol().received(text)


@pytest.mark.parametrize("type", ["unsubscribed", "news_of_a_later_version", "pong", "subscribed"])
def test_what_a_later_hub_may_say_harms_nothing(type: str) -> None:
    hub = live(Course(EVENTS))
    assert hub.say(type, what="ever") == []


@pytest.mark.parametrize(
    ("one", "other", "overlap"),
    [
        (EVENTS, EVENTS, True),
        (EVENTS, RUN, False),
        (RUN, wish("execution", execution_id="e2"), False),
        (RUN, wish("execution", execution_id="*"), True),
        (RUN, wish("workflow", workflow_id="*"), False),
        (wish("task", assignee="ada"), wish("task", assignee="bob"), True),
        (wish("task", assignee="ada"), wish("task", task_id="t1"), True),
    ],
)
def test_what_cannot_be_told_apart_is_not_on_one_socket(one: Wish, other: Wish, overlap: bool) -> None:
    assert one.overlaps(other) is other.overlaps(one) is overlap


def test_channels_are_named_as_the_hub_names_them() -> None:
    names = [EVENTS.name, RUN.name, wish("task", assignee="ada").name, wish("workflow", workflow_id="*").name]
    assert names == ["events", "execution:e1", "task:assignee:ada", "workflow:*"]


def test_only_the_client_says_gap() -> None:
    assert Message(type="gap").is_gap
    assert not Message(type="event").is_gap


@pytest.mark.parametrize(
    ("codes", "what"),
    [
        ((1009, 4400, 4401, 4403), After.STOP),
        ((1000, 1001, 1006, 1011, 1012, 4408, 4999), After.SOON),
        ((1013, 4413, 4429), After.LATER),
        ((4411,), After.RENEW),
    ],
)
def test_the_code_table_is_followed(codes: tuple[int, ...], what: After) -> None:
    assert {after(code) for code in codes} == {what}
