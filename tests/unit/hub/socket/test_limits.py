from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from executor.domain.errors import Problem
from hub.channels import Key
from hub.messages import Channel
from hub.settings import Settings
from hub.socket.limits import LIMITS, Bucket, Holding, Limits, Quotas, limits_of

ORGANIZATION = "O"


def key(id: str) -> Key:
    return Key(ORGANIZATION, Channel.EXECUTION, id)


def holding(quotas: Quotas, organization_id: str = ORGANIZATION) -> Holding:
    held = quotas.admit(organization_id)
    assert held is not None
    return held


def said(problem: Problem | None) -> tuple[str, str | None]:
    assert problem is not None
    assert problem.code == "RATE_LIMIT_EXCEEDED"
    return problem.message, problem.field


def test_a_connection_has_so_many_subscriptions() -> None:
    held = holding(Quotas(Limits(subscriptions=2)))
    held.add(key("a"), None)
    held.add(key("b"), None)
    assert said(held.refusal(key("c"), None)) == ("a connection has at most 2 subscriptions", None)
    assert held.refusal(key("a"), None) is None
    held.remove(key("a"))
    assert held.refusal(key("c"), None) is None


def test_a_connection_has_so_many_different_filters() -> None:
    held = holding(Quotas(Limits(filters=1)))
    held.add(key("a"), "true")
    assert held.refusal(key("b"), "true") is None
    assert said(held.refusal(key("b"), "false")) == ("a connection has at most 1 different filters", "filter")
    assert held.refusal(key("a"), "false") is None


def test_the_connections_of_an_organization_share_what_it_may_have() -> None:
    quotas = Quotas(Limits(organization_subscriptions=2, organization_filters=1))
    one, two, other = holding(quotas), holding(quotas), holding(quotas, "P")
    one.add(key("a"), "true")
    assert said(two.refusal(key("a"), "false")) == ("the organization has 1 different filters here already", "filter")
    two.add(key("a"), "true")
    assert said(two.refusal(key("b"), None)) == ("the organization has 2 subscriptions here already", None)
    assert two.refusal(key("a"), None) is None
    assert other.refusal(key("b"), "false") is None
    one.close()
    assert two.refusal(key("b"), None) is None


steps = st.lists(
    st.tuples(st.sampled_from(["add", "remove", "clear", "close"]), st.integers(0, 2), st.sampled_from("abc")),
    max_size=40,
)


@given(steps, st.sampled_from([None, "x", "y"]))
def test_what_is_given_back_is_all_that_was_taken(done: list[tuple[str, int, str]], condition: str | None) -> None:
    quotas = Quotas()
    held = [holding(quotas, organization) for organization in ("O", "O", "P")]
    for what, which, id in done:
        match what:
            case "add":
                held[which].add(key(id), condition if id == "a" else None)
            case "remove":
                held[which].remove(key(id))
            case "clear":
                held[which].clear()
            case _:
                held[which].close()
                held[which] = holding(quotas, "O")
    assert not quotas.is_empty
    for each in held:
        each.close()
        each.close()
    assert quotas.is_empty


def test_limits_are_the_settings_unless_they_are_nobody_s_to_set() -> None:
    assert limits_of(Settings(data_dir=Path("d"))) == LIMITS
    settings = Settings(
        data_dir=Path("d"),
        max_connections=1,
        max_subscriptions=2,
        max_filters=3,
        max_connection_subscriptions=4,
        messages_per_second=5,
        message_burst=6,
        max_lag=7,
    )
    assert limits_of(settings) == Limits(
        connections=1,
        organization_subscriptions=2,
        organization_filters=3,
        subscriptions=4,
        messages_per_second=5,
        message_burst=6,
        lag=7,
    )


def test_a_bucket_lets_so_many_come_at_once_and_then_so_many_a_second() -> None:
    bucket = Bucket(4, 3)
    assert [bucket.take(100) for _ in range(3)] == [0, 0, 0]
    assert bucket.take(100.25) == 0
    assert bucket.take(100.25) == pytest.approx(0.5)
    assert bucket.take(100.75) == 0
    assert [bucket.take(1000) for _ in range(3)] == [0, 0, 0]
    assert bucket.take(1000) > 0


def test_a_bucket_is_spent_by_who_goes_on_all_the_same_and_not_by_who_waits() -> None:
    patient, hasty, now = Bucket(4, 2), Bucket(4, 2), 100.0
    for _ in range(20):
        now += patient.take(now)
        assert not patient.is_spent
    assert [bool(hasty.take(100)) for _ in range(3)] == [False, False, True]
    assert not hasty.is_spent
    hasty.take(100)
    assert hasty.is_spent
