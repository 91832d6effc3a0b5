from __future__ import annotations

import itertools
import json
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from executor.domain.values import Instant
from hub.auth.permissions import PERMISSIONS
from hub.auth.principal import Principal
from hub.channels import ALL, Key, Wish, needs_check
from hub.messages import Channel
from hub.socket.codes import CloseCode
from hub.socket.limits import Limits, Quotas
from hub.socket.outputs import (
    CheckCredentials,
    CheckResource,
    Close,
    Listen,
    Output,
    Outputs,
    ReportPosition,
    Send,
    Unlisten,
)
from hub.socket.protocol import Protocol, State
from hub.socket.requests import Authenticate

ID, OTHER = "01HQNZ2G5XKJ8P7M9N6V3R4T5W", "01HQNZ2G5XKJ8P7M9N6V3R4T5X"
NOW, LATER = Instant("2026-01-31T12:00:00.000Z"), Instant("2026-01-31T13:00:00.000Z")
EXECUTION = Key("org", Channel.EXECUTION, ID)
EVENTS = Key("org", Channel.EVENTS, "*")


class Time:
    now = NOW
    seconds = 1000.0


def principal(*permissions: str, organization_id: str = "org", expires_at: Instant | None = None) -> Principal:
    return Principal(
        type="api_key",
        id="key",
        name="ci",
        organization_id=organization_id,
        organization_name="Org",
        role=None,
        permissions=frozenset(permissions) or PERMISSIONS,
        expires_at=expires_at,
    )


def protocol(time: type[Time] = Time, quotas: Quotas | None = None, **limits: int) -> Protocol:
    ids = itertools.count(1)
    return Protocol(
        "C1",
        "EPOCH",
        new_id=lambda: f"S{next(ids)}",
        now=lambda: time.now,
        quotas=quotas or Quotas(Limits(**limits)),
        seconds=lambda: time.seconds,
    )


def opened(*permissions: str, **more: Any) -> Protocol:
    made = protocol()
    made.credentials_checked(None, principal(*permissions, **more), 0)
    return made


def text(type: str, id: str | None = "m1", **data: Any) -> str:
    return json.dumps({"type": type, "id": id, "data": data})


def wish(id: str = ID, reply: str = "m1", **more: Any) -> str:
    return text("subscribe", reply, channel="execution", execution_id=id, **more)


def said(output: Output) -> dict[str, Any]:
    assert isinstance(output, Send)
    message: dict[str, Any] = json.loads(output.message)
    assert list(message) == ["type", "id", "timestamp", "data"]
    assert message["timestamp"] == NOW
    assert message["id"].startswith("S")
    return {"type": message["type"], **message["data"]}


def refused(outputs: Outputs) -> str:
    (output,) = outputs
    message = said(output)
    assert message["type"] == "error"
    assert message["reply_to"] == "m1"
    return str(message["code"])


def subscribed(made: Protocol, frame: str, *, head: int = 10, is_there: bool = True) -> Outputs:
    (check,) = made.received(frame)
    assert isinstance(check, CheckResource)
    return made.resource_checked(check, is_there, head)


class TestAuthentication:
    def test_credentials_of_the_handshake_are_checked_and_welcomed(self) -> None:
        made = protocol()
        assert made.opened("sk") == [CheckCredentials("sk", None)]
        (welcome,) = made.credentials_checked(None, principal(), 7)
        assert said(welcome) == {
            "type": "welcome",
            "connection_id": "C1",
            "epoch": "EPOCH",
            "position": 7,
            "limits": {
                "message_bytes": 65536,
                "subscriptions": 1000,
                "output_bytes": 16384,
                "channels": 100,
                "filters": 20,
                "messages_per_second": 100,
                "message_burst": 200,
                "connections": 10_000,
                "organization_subscriptions": 100_000,
                "organization_filters": 50,
                "unsent_bytes": 262_144,
                "lag": None,
            },
        }
        assert made.state is State.OPEN

    def test_without_credentials_the_first_message_brings_them(self) -> None:
        made = protocol()
        assert made.opened(None) == []
        request = Authenticate("m1", "sk")
        assert made.received(text("auth", token="sk")) == [CheckCredentials("sk", request)]
        (welcome,) = made.credentials_checked(request, principal(), 7)
        assert said(welcome)["reply_to"] == "m1"

    def test_before_that_everything_else_is_an_error_and_nothing_more(self) -> None:
        made = protocol()
        for frame in (wish(), text("ping"), text("unsubscribe", channel="events")):
            assert refused(made.received(frame)) == "AUTHENTICATION_ERROR"
        assert refused(made.received(text("auth"))) == "VALIDATION_ERROR"
        assert made.state is State.ANONYMOUS

    def test_invalid_credentials_close(self) -> None:
        made = protocol()
        made.opened("sk")
        (close,) = made.credentials_checked(None, None, 7)
        assert close == Close(4401, "the credentials are not valid")
        assert made.state is State.CLOSED

    def test_nobody_who_is_late_is_let_in(self) -> None:
        made = protocol()
        assert made.timed_out() == [Close(4408, "not authenticated within 5 seconds")]
        assert made.credentials_checked(None, principal(), 7) == []

    def test_who_is_in_is_not_late(self) -> None:
        assert opened().timed_out() == []

    def test_renewal_is_welcomed_again_and_keeps_subscriptions(self) -> None:
        made = opened()
        subscribed(made, wish())
        request = Authenticate("m1", "new")
        (welcome,) = made.credentials_checked(request, principal(), 9)
        assert said(welcome)["position"] == 9
        assert made.received(text("unsubscribe", channel="execution", execution_id=ID))[0] == Unlisten(EXECUTION)

    def test_renewal_with_invalid_credentials_closes(self) -> None:
        made = opened()
        subscribed(made, wish())
        outputs = made.credentials_checked(Authenticate("m1", "new"), None, 9)
        assert outputs == [Unlisten(EXECUTION), Close(4401, "the credentials are not valid")]

    def test_renewal_with_another_organization_s_closes(self) -> None:
        made = opened()
        outputs = made.credentials_checked(Authenticate(None, "new"), principal(organization_id="other"), 9)
        assert outputs == [Close(4403, "these credentials are another organization's")]

    def test_renewal_with_less_ends_what_is_no_longer_allowed(self) -> None:
        made = opened()
        subscribed(made, wish())
        (check,) = made.received(text("subscribe", channel="events"))
        assert isinstance(check, CheckResource)
        made.resource_checked(check, True, 9)
        _, *rest = made.credentials_checked(Authenticate("m1", "new"), principal("event.read"), 9)
        assert rest[0] == Unlisten(EXECUTION)
        assert said(rest[1]) == {
            "type": "error",
            "reply_to": None,
            "code": "AUTHORIZATION_ERROR",
            "message": "this channel needs the permission 'execution.read'",
            "channel": f"execution:{ID}",
        }
        assert len(rest) == 2

    def test_expired_credentials_close_and_renewed_ones_do_not(self) -> None:
        class Moving(Time):
            now = NOW

        made = protocol(Moving)
        made.credentials_checked(None, principal(expires_at=LATER), 0)
        assert made.expired() == []
        Moving.now = LATER
        made.credentials_checked(Authenticate(None, "new"), principal(), 0)
        assert made.expired() == []
        made.credentials_checked(Authenticate(None, "new"), principal(expires_at=LATER), 0)
        closing, close = made.expired()
        assert isinstance(closing, Send)
        assert json.loads(closing.message)["data"] == {
            "code": 4411,
            "reason": "the credentials have expired",
            "reconnect": False,
            "retry_after_ms": 0,
        }
        assert close == Close(4411, "the credentials have expired")

    def test_revoked_credentials_close(self) -> None:
        assert opened().revoked() == [Close(4401, "the credentials were revoked")]

    def test_a_token_is_shown_nowhere(self) -> None:
        assert "sk_secret" not in repr(protocol().received(text("auth", token="sk_secret")))
        assert "sk_secret" not in repr(CheckCredentials("sk_secret", None))


class TestSubscribing:
    def test_first_it_is_said_then_it_begins(self) -> None:
        answer, listen = subscribed(opened(), wish(since=4), head=10)
        assert said(answer) == {
            "type": "subscribed",
            "reply_to": "m1",
            "channel": f"execution:{ID}",
            "position": 4,
            "head": 10,
            "recovered": True,
        }
        assert listen == Listen(EXECUTION, 4, ALL)

    @pytest.mark.parametrize(
        ("more", "position", "recovered"),
        [
            ({}, 10, True),
            ({"since": 0}, 0, True),
            ({"since": 10}, 10, True),
            ({"since": 4, "epoch": "EPOCH"}, 4, True),
            ({"epoch": "EPOCH"}, 10, True),
            ({"since": 4, "epoch": "ANOTHER"}, 10, False),
            ({"since": 99, "epoch": "ANOTHER"}, 10, False),
            ({"epoch": "ANOTHER"}, 10, False),
        ],
    )
    def test_where_it_begins(self, more: dict[str, Any], position: int, recovered: bool) -> None:
        answer, listen = subscribed(opened(), wish(**more), head=10)
        assert (said(answer)["position"], said(answer)["recovered"]) == (position, recovered)
        assert listen == Listen(EXECUTION, position, ALL)

    def test_where_something_was_archived_the_rest_comes_and_it_is_said(self) -> None:
        made = opened()
        (check,) = made.received(wish(since=4))
        assert isinstance(check, CheckResource)
        answer, listen = made.resource_checked(check, True, 10, is_lost=True)
        assert (said(answer)["position"], said(answer)["recovered"]) == (4, False)
        assert listen == Listen(EXECUTION, 4, ALL, is_lost=True)

    @pytest.mark.parametrize("since", [11, 10**30])
    def test_beyond_the_head_is_refused(self, since: int) -> None:
        assert refused(subscribed(opened(), wish(since=since), head=10)) == "INVALID_POSITION"

    def test_what_is_not_there_is_refused(self) -> None:
        assert refused(subscribed(opened(), wish(), is_there=False)) == "RESOURCE_NOT_FOUND"

    def test_what_cannot_be_looked_up_is_refused_for_now(self) -> None:
        made = opened()
        (check,) = made.received(wish())
        assert isinstance(check, CheckResource)
        assert refused(made.resource_unknown(check)) == "SERVICE_UNAVAILABLE"

    @pytest.mark.parametrize(
        ("permission", "data"),
        [
            ("execution.read", {"channel": "execution", "execution_id": ID}),
            ("execution.read", {"channel": "execution", "execution_id": "*"}),
            ("workflow.read", {"channel": "workflow", "workflow_id": ID}),
            ("event.read", {"channel": "events"}),
            ("webhook.read", {"channel": "webhook", "webhook_id": "*"}),
            ("system.read", {"channel": "system"}),
        ],
    )
    def test_a_channel_needs_its_permission(self, permission: str, data: dict[str, Any]) -> None:
        (check,) = opened(permission).received(text("subscribe", **data))
        assert isinstance(check, CheckResource)
        others = PERMISSIONS - {permission}
        (error,) = opened(*others).received(text("subscribe", **data))
        assert said(error)["code"] == "AUTHORIZATION_ERROR"
        assert permission in said(error)["message"]

    def test_again_starts_it_anew(self) -> None:
        made = opened()
        subscribed(made, wish(since=4))
        unlisten, answer, listen = subscribed(made, wish(since=2, types=["log.*"]))
        assert (unlisten, listen) == (Unlisten(EXECUTION), Listen(EXECUTION, 2, Wish(frozenset({"log.written"}))))
        assert said(answer)["position"] == 2

    def test_a_refused_repetition_leaves_the_first_alone(self) -> None:
        made = opened()
        subscribed(made, wish())
        assert refused(subscribed(made, wish(since=99))) == "INVALID_POSITION"
        assert refused(made.received(wish(since="x"))) == "VALIDATION_ERROR"
        assert made.received(text("unsubscribe", channel="execution", execution_id=ID))[0] == Unlisten(EXECUTION)

    def test_there_is_a_limit_which_a_repetition_does_not_touch(self) -> None:
        made = protocol(subscriptions=1)
        made.credentials_checked(None, principal(), 0)
        subscribed(made, wish())
        assert refused(made.received(wish(OTHER))) == "RATE_LIMIT_EXCEEDED"
        assert len(subscribed(made, wish())) == 3
        made.received(text("unsubscribe", channel="execution", execution_id=ID))
        assert len(subscribed(made, wish(OTHER))) == 2

    def test_unsubscribing_is_answered_always_and_done_once(self) -> None:
        made = opened()
        subscribed(made, wish())
        frame = text("unsubscribe", channel="execution", execution_id=ID)
        unlisten, answer = made.received(frame)
        assert unlisten == Unlisten(EXECUTION)
        assert said(answer) == {"type": "unsubscribed", "reply_to": "m1", "channel": f"execution:{ID}"}
        (answer,) = made.received(frame)
        assert said(answer)["type"] == "unsubscribed"

    def test_several_are_each_answered_in_their_order(self) -> None:
        made = opened("execution.read")
        channels = [
            {"channel": "events"},
            {"channel": "execution", "execution_id": ID},
            {"channel": "nothing"},
            {"channel": "execution", "execution_id": "*", "since": 99},
        ]
        forbidden, first, wrong, second = made.received(text("subscribe", channels=channels))
        assert said(forbidden) == {
            "type": "error",
            "reply_to": "m1",
            "code": "AUTHORIZATION_ERROR",
            "message": "this channel needs the permission 'event.read'",
            "field": "channels[0]",
        }
        assert said(wrong)["field"] == "channels[2].channel"
        assert isinstance(first, CheckResource)
        assert isinstance(second, CheckResource)
        (missing,) = made.resource_checked(first, False, 10)
        assert said(missing)["field"] == "channels[1].execution_id"
        (beyond,) = made.resource_checked(second, True, 10)
        assert (said(beyond)["code"], said(beyond)["field"]) == ("INVALID_POSITION", "channels[3].since")

    def test_several_count_as_many_against_the_limit(self) -> None:
        made = protocol(subscriptions=1)
        made.credentials_checked(None, principal(), 0)
        first, second = made.received(text("subscribe", channels=[{"channel": "events"}, {"channel": "system"}]))
        assert isinstance(first, CheckResource)
        assert isinstance(second, CheckResource)
        assert len(made.resource_checked(first, True, 0)) == 2
        (error,) = made.resource_checked(second, True, 0)
        assert (said(error)["code"], said(error)["field"]) == ("RATE_LIMIT_EXCEEDED", "channels[1]")

    def test_several_are_left_at_once(self) -> None:
        made = opened()
        subscribed(made, wish())
        outputs = made.received(
            text("unsubscribe", channels=[{"channel": "events"}, {"channel": "execution", "execution_id": ID}])
        )
        assert [type(output) for output in outputs] == [Send, Unlisten, Send]
        assert [said(output)["channel"] for output in outputs if isinstance(output, Send)] == [
            "events",
            f"execution:{ID}",
        ]

    @pytest.mark.parametrize(
        "filter", ["", "data.", "1", "nobody == 1", "data.x.matches('a')", " " * 512 + "true"], ids=repr
    )
    def test_a_filter_that_is_no_condition_is_refused(self, filter: str) -> None:
        for frame, field in (
            (wish(filter=filter), "filter"),
            (text("subscribe", channels=[{"channel": "events", "filter": filter}]), "channels[0].filter"),
        ):
            (error,) = opened().received(frame)
            assert (said(error)["code"], said(error)["field"]) == ("VALIDATION_ERROR", field)

    def test_nobody_has_a_filter_compiled_who_may_not_subscribe(self) -> None:
        frame = wish(filter="data.")
        assert refused(protocol().received(frame)) == "AUTHENTICATION_ERROR"
        assert refused(opened("event.read").received(frame)) == "AUTHORIZATION_ERROR"

    def test_a_filter_that_is_new_to_the_organization_counts_as_several_messages(self) -> None:
        made = protocol(message_burst=10, messages_per_second=1)
        made.credentials_checked(None, principal(), 0)
        subscribed(made, wish(filter="true"))
        subscribed(made, wish(OTHER, filter="true"))
        assert isinstance(made.received(wish(OTHER, filter="false"))[0], CheckResource)
        assert refused(made.received(text("ping"))) == "RATE_LIMIT_EXCEEDED"

    def test_a_filter_and_a_mode_go_with_the_subscription_and_survive_a_renewal(self) -> None:
        made = protocol(filters=1)
        made.credentials_checked(None, principal(), 0)
        _, listen = subscribed(made, wish(filter="data.status == 'failed'", mode="latest"))
        assert listen == Listen(EXECUTION, 10, Wish(None, "data.status == 'failed'", is_latest=True))
        made.credentials_checked(Authenticate("m1", "new"), principal(), 9)
        (error,) = made.received(wish(OTHER, filter="true"))
        assert (said(error)["code"], said(error)["field"]) == ("RATE_LIMIT_EXCEEDED", "filter")
        (check,) = made.received(wish(OTHER, filter="data.status == 'failed'"))
        assert isinstance(check, CheckResource)

    def test_only_channels_of_one_thing_are_looked_up(self) -> None:
        assert needs_check(EXECUTION)
        assert not needs_check(EVENTS)
        assert not needs_check(Key("org", Channel.WORKFLOW, "*"))


class TestLimits:
    def test_more_connections_than_an_organization_may_have_are_closed_and_others_are_not(self) -> None:
        quotas = Quotas(Limits(connections=1))
        first, second, other = (protocol(quotas=quotas) for _ in range(3))
        first.credentials_checked(None, principal(), 0)
        refusal = Close(4429, "the organization has 1 connections here already")
        assert second.credentials_checked(None, principal(), 0) == [refusal]
        assert said(other.credentials_checked(None, principal(organization_id="other"), 0)[0])["type"] == "welcome"
        assert said(first.credentials_checked(None, principal(), 0)[0])["type"] == "welcome"
        second.lost()
        first.lost()
        first.lost()
        third = protocol(quotas=quotas)
        assert said(third.credentials_checked(None, principal(), 0)[0])["type"] == "welcome"
        third.lost()
        other.lost()
        assert quotas.is_empty

    def test_what_a_connection_held_is_free_once_it_is_closed(self) -> None:
        quotas = Quotas(Limits(organization_subscriptions=1))
        first, second = protocol(quotas=quotas), protocol(quotas=quotas)
        for made in (first, second):
            made.credentials_checked(None, principal(), 0)
        subscribed(first, wish())
        assert refused(second.received(wish())) == "RATE_LIMIT_EXCEEDED"
        assert len(subscribed(first, wish())) == 3
        first.revoked()
        assert len(subscribed(second, wish())) == 2

    def test_a_limit_that_was_reached_while_the_channel_was_looked_up_holds(self) -> None:
        made = protocol(subscriptions=1)
        made.credentials_checked(None, principal(), 0)
        (one,), (two,) = made.received(wish()), made.received(wish(OTHER))
        assert isinstance(one, CheckResource)
        assert isinstance(two, CheckResource)
        assert len(made.resource_checked(one, True, 0)) == 2
        assert refused(made.resource_checked(two, True, 0)) == "RATE_LIMIT_EXCEEDED"

    def test_too_many_messages_are_refused_then_admitted_again_and_then_closed(self) -> None:
        class Moving(Time):
            seconds = 50.0

        made = protocol(Moving, messages_per_second=8, message_burst=2)
        made.credentials_checked(None, principal(), 0)
        assert [made.received(text("ping")) for _ in range(2)] == [[ReportPosition("m1")]] * 2
        (error,) = made.received(text("ping"))
        assert said(error) == {
            "type": "error",
            "reply_to": "m1",
            "code": "RATE_LIMIT_EXCEEDED",
            "message": "a connection sends at most 8 messages a second",
            "retry_after": 0.25,
        }
        Moving.seconds += 0.25
        assert made.received(text("ping")) == [ReportPosition("m1")]
        assert said(made.received(text("ping"))[0])["code"] == "RATE_LIMIT_EXCEEDED"
        closing, close = made.received(text("ping"))
        assert said(closing) == {
            "type": "closing",
            "code": 4429,
            "reason": "too many messages",
            "reconnect": True,
            "retry_after_ms": 375,
        }
        assert close == Close(4429, "too many messages")

    def test_what_is_no_message_closes_whatever_came_before(self) -> None:
        made = protocol(message_burst=1)
        made.received(text("ping"))
        assert made.received("{") == [Close(4400, "not JSON")]

    def test_who_does_not_say_who_it_is_may_not_flood_either(self) -> None:
        made = protocol(message_burst=1)
        assert refused(made.received(text("ping"))) == "AUTHENTICATION_ERROR"
        assert isinstance(made.received(text("ping"))[-1], Close)

    def test_who_is_too_far_behind_is_told_from_where_to_go_on(self) -> None:
        made = opened()
        subscribed(made, wish())
        closing, unlisten, close = made.too_far_behind(41)
        assert (said(closing)["code"], said(closing)["reconnect"]) == (4413, True)
        assert (unlisten, close) == (Unlisten(EXECUTION), Close(4413, "too far behind: sent through position 41"))


def test_a_ping_is_answered_with_the_position_of_all_channels() -> None:
    made = opened()
    assert made.received(text("ping")) == [ReportPosition("m1")]
    (pong,) = made.pong("m1", 8)
    assert said(pong) == {"type": "pong", "reply_to": "m1", "position": 8}


@pytest.mark.parametrize("make", [protocol, opened], ids=["anonymous", "open"])
@pytest.mark.parametrize(
    ("frame", "code"), [("{", 4400), ("[]", 4400), ("{}", 4400), (b"{}", 4400), ("x" * 65_537, 1009)]
)
def test_what_is_no_message_closes(make: Callable[[], Protocol], frame: str | bytes, code: int) -> None:
    (close,) = make().received(frame)
    assert isinstance(close, Close)
    assert close.code == code


@pytest.mark.parametrize(
    ("code", "reconnect"),
    [(1001, True), (1011, True), (1012, True), (1013, True), (4411, False), (4413, True), (4429, True)],
)
def test_the_server_says_that_it_goes(code: int, reconnect: bool) -> None:
    made = opened()
    subscribed(made, wish())
    closing, unlisten, close = made.leave(code, "why", 700)
    assert said(closing) == {
        "type": "closing",
        "code": code,
        "reason": "why",
        "reconnect": reconnect,
        "retry_after_ms": 700,
    }
    assert (unlisten, close) == (Unlisten(EXECUTION), Close(code, "why"))


def test_once_closed_nothing_leads_to_anything() -> None:
    made = opened(expires_at=NOW)
    (check,) = made.received(wish())
    assert isinstance(check, CheckResource)
    made.leave(CloseCode.RESTART, "why")
    assert made.received(wish()) == []
    assert made.credentials_checked(None, principal(), 0) == []
    assert made.resource_checked(check, True, 0) == []
    assert made.resource_unknown(check) == []
    assert made.pong(None, 0) == []
    assert made.timed_out() == made.expired() == made.revoked() == made.leave(1012, "") == []


def test_a_lost_connection_leads_to_nothing_either() -> None:
    made = opened()
    subscribed(made, wish())
    made.lost()
    assert made.leave(1012, "") == made.received(text("ping")) == []


def test_every_reason_fits_into_a_close_frame() -> None:
    closes = [
        *protocol().received("{"),
        *protocol().received("x" * 65_537),
        *protocol().credentials_checked(None, None, 0),
        *opened().credentials_checked(None, principal(organization_id="other"), 0),
        *protocol().timed_out(),
        opened(expires_at=NOW).expired()[-1],
        *opened().revoked(),
        opened().too_far_behind(10**18)[-1],
        *protocol(connections=0).credentials_checked(None, principal(), 0),
    ]
    assert len(closes) == 9
    assert all(isinstance(close, Close) and len(close.reason.encode()) <= 123 for close in closes)


frames = (
    st.text()
    | st.binary()
    | st.sampled_from(
        [
            wish(),
            wish(OTHER),
            wish("*"),
            wish(since=3),
            wish(since=99),
            wish(filter="data.x == 1"),
            text("subscribe", channels=[{"channel": "system"}, {"channel": "events"}, {"channel": "events"}]),
            text("unsubscribe", channels=[{"channel": "system"}, {"channel": "events"}]),
            text("subscribe", channel="events"),
            text("unsubscribe", channel="events"),
            text("unsubscribe", channel="execution", execution_id=ID),
            text("auth", token="sk"),
            text("ping"),
            '{"type":"nothing"}',
        ]
    )
)


@given(st.lists(st.tuples(frames, st.booleans()), max_size=30), st.booleans())
def test_whatever_comes_it_listens_once_to_a_channel_and_to_none_when_closed(
    steps: list[tuple[str | bytes, bool]], is_open: bool
) -> None:
    made = opened() if is_open else protocol()
    listening: set[Key] = set()
    todo: Outputs = []
    for frame, answer in steps:
        todo += made.received(frame)
        while todo:
            match todo.pop(0):
                case CheckCredentials(_, request):
                    todo += made.credentials_checked(request, principal() if answer else None, 10)
                case CheckResource() as check:
                    todo += made.resource_checked(check, answer, 10)
                case ReportPosition(reply_to):
                    todo += made.pong(reply_to, 10)
                case Listen(key):
                    assert key not in listening
                    listening.add(key)
                case Unlisten(key):
                    listening.remove(key)
                case Send(message):
                    assert made.state is not State.CLOSED
                    assert json.loads(message)["type"]
                case Close():
                    assert made.state is State.CLOSED
                    assert not todo
    if made.state is State.CLOSED:
        assert not listening
