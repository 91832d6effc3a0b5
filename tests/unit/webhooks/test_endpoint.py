from __future__ import annotations

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from executor.domain.errors import Invalid, NotFound
from executor.domain.events.webhook import (
    ClientCredentials,
    EndpointAuthentication,
    EndpointFilters,
    WebhookCreated,
    WebhookDeleted,
    WebhookDisabled,
    WebhookEnabled,
    WebhookUpdated,
)
from executor.domain.secrets import REDACTED
from executor.domain.values import Instant, RetryPolicy, plus
from tests.unit.webhooks.given import CHANGE, CREATED, ID, ORGANIZATION, SEALED, after, decided, endpoint
from webhooks.endpoint import (
    AGGREGATE,
    DEFAULT_POLICY,
    SHARDS,
    EndpointChange,
    State,
    WebhookRow,
    decide_delete,
    decide_disable,
    decide_enable,
    decide_update,
    initial,
    shard_of,
    state_of,
)
from webhooks.view import view

NOW = Instant("2026-01-31T12:00:00.000Z")
OFF = WebhookDisabled(reason="gone")


def test_creating_fills_in_what_was_left_out() -> None:
    made = endpoint()
    assert (made.active, made.ordered, made.max_in_flight, made.timeout_seconds) == (True, False, 10, 15.0)
    assert made.retry_policy == DEFAULT_POLICY == RetryPolicy(max_attempts=12)
    assert (made.filters, made.authentication, made.sealed_headers) == (
        EndpointFilters(),
        EndpointAuthentication(),
        {},
    )


def test_the_fold_knows_who_created_it_and_when_it_changed() -> None:
    state = after(CREATED, OFF)
    assert (state.id, state.organization_id, state.created_by) == (ID, ORGANIZATION, "KEY")
    assert (state.created_at, state.updated_at) == (
        Instant("2026-01-01T00:00:01.000Z"),
        Instant("2026-01-01T00:00:02.000Z"),
    )
    assert (state.version, state.is_active, state.disabled_reason) == (2, False, "gone")


def test_a_change_says_what_differs_in_the_words_of_the_contract() -> None:
    change = EndpointChange(url="https://other.example", sealed_secret="sealed:v1:B", sealed_headers={"X": "s"})
    changed = endpoint(url="https://other.example", sealed_secret="sealed:v1:B", sealed_headers={"X": "s"})
    decided(
        given=[CREATED],
        when=lambda state: decide_update(state, change, NOW),
        then=[WebhookUpdated(endpoint=changed, changed=("url", "secret", "headers"))],
    )


def replaced(state: State, sealed: str, now: Instant, until: Instant | None) -> State:
    change = EndpointChange(sealed_secret=sealed)
    (event,) = decide_update(state, change, now, until)
    return after(CREATED, event)


def expiries(state: State) -> list[tuple[str, Instant]]:
    assert state.endpoint is not None
    return [(old.sealed, old.expires_at) for old in state.endpoint.retired]


def test_each_secret_that_is_replaced_signs_on_until_its_own_end() -> None:
    state, later = after(CREATED), [plus(NOW, seconds) for seconds in (60, 10, 30)]
    first = state.endpoint.sealed_secret if state.endpoint else ""
    state = replaced(state, "B", NOW, later[0])
    state = replaced(state, "C", NOW, later[1])
    assert expiries(state) == [("B", later[1]), (first, later[0])]
    assert expiries(replaced(state, "D", NOW, NOW)) == expiries(state), "no overlap: it signs no more"
    assert expiries(replaced(state, "D", NOW, None)) == expiries(state), "by a change that does not rotate"
    assert expiries(replaced(state, "D", plus(NOW, 10), later[2])) == [("C", later[2]), (first, later[0])]
    (other,) = decide_update(state, EndpointChange(description="x"), plus(NOW, 60))
    assert expiries(after(CREATED, other)) == [], "what has expired is dropped at the next change"


def test_of_many_that_were_replaced_the_oldest_go() -> None:
    state = after(CREATED)
    for index in range(8):
        state = replaced(state, str(index), NOW, plus(NOW, 60))
    assert [sealed for sealed, _ in expiries(state)] == ["6", "5", "4", "3", "2"]


def test_a_change_that_changes_nothing_is_no_event() -> None:
    decided(given=[CREATED], when=lambda state: decide_update(state, EndpointChange(active=True), NOW), then=[])


def test_redacted_keeps_what_is_stored() -> None:
    stored = endpoint(
        authentication=EndpointAuthentication(type="bearer", sealed="sealed:v1:T"),
        sealed_headers={"X-Key": "sealed:v1:K"},
    )
    change = EndpointChange(
        authentication=EndpointAuthentication(type="bearer", sealed=REDACTED),
        sealed_headers={"x-key": REDACTED, "X-New": "sealed:v1:N"},
    )
    kept = msgspec.structs.replace(stored, sealed_headers={"x-key": "sealed:v1:K", "X-New": "sealed:v1:N"})
    decided(
        given=[WebhookCreated(endpoint=stored)],
        when=lambda state: decide_update(state, change, NOW),
        then=[WebhookUpdated(endpoint=kept, changed=("headers",))],
    )


@pytest.mark.parametrize(
    ("change", "field"),
    [
        (EndpointChange(sealed_headers={"X": REDACTED}), "headers.X"),
        (EndpointChange(authentication=EndpointAuthentication(type="bearer", sealed=REDACTED)), "authentication"),
    ],
)
def test_redacted_without_anything_stored_is_refused(change: EndpointChange, field: str) -> None:
    with pytest.raises(Invalid) as caught:
        decide_update(after(CREATED), change, NOW)
    assert caught.value.problems[0].field == field


def test_disabling_and_enabling_are_said_once() -> None:
    decided(given=[CREATED], when=lambda state: decide_disable(state, "gone"), then=[OFF])
    decided(given=[CREATED, OFF], when=lambda state: decide_disable(state, "gone"), then=[])
    decided(given=[CREATED, OFF], when=decide_enable, then=[WebhookEnabled()])
    decided(given=[CREATED], when=decide_enable, then=[])
    assert after(CREATED, OFF, WebhookEnabled()).disabled_reason is None


def test_switching_on_by_a_change_forgets_why_it_was_off() -> None:
    update = WebhookUpdated(endpoint=endpoint(), changed=("active",))
    assert after(CREATED, OFF, update).disabled_reason is None


def test_a_deleted_endpoint_is_gone_for_every_command() -> None:
    decided(given=[CREATED], when=decide_delete, then=[WebhookDeleted()])
    deleted = after(CREATED, WebhookDeleted())
    assert not deleted.is_active
    assert decide_disable(deleted, "gone") == []
    for command in (decide_delete, decide_enable, lambda state: decide_update(state, CHANGE, NOW)):
        for state in (deleted, initial()):
            with pytest.raises(NotFound):
                command(state)


def test_the_row_holds_the_whole_state_and_the_view_nothing_secret() -> None:
    state = after(WebhookCreated(endpoint=endpoint(sealed_headers={"X-Key": SEALED})), OFF)
    (row,) = AGGREGATE.rows(initial(), state)
    assert isinstance(row, WebhookRow)
    assert state_of(row) == state
    assert (row.active, row.deleted, row.shard, row.version) == (0, 0, shard_of(ID), 2)
    shown = msgspec.json.encode(view(row))
    assert b"sealed" not in shown
    assert b'"secret"' not in shown
    assert view(row).headers == {"X-Key": REDACTED}
    assert msgspec.to_builtins(view(row, "whsec_x"))["secret"] == "whsec_x"
    assert AGGREGATE.rows(initial(), initial()) == ()


@pytest.mark.parametrize(
    ("stored", "shown"),
    [
        (EndpointAuthentication(), {"type": "none"}),
        (EndpointAuthentication(type="bearer", sealed=SEALED), {"type": "bearer", "token": REDACTED}),
        (
            EndpointAuthentication(type="basic", name="me", sealed=SEALED),
            {"type": "basic", "username": "me", "password": REDACTED},
        ),
        (
            EndpointAuthentication(
                type="oauth2", name="me", sealed=SEALED, grant=ClientCredentials(token_url="https://t", scope="s")
            ),
            {
                "type": "oauth2",
                "token_url": "https://t",
                "client_id": "me",
                "client_secret": REDACTED,
                "scope": "s",
                "client_auth": "basic",
            },
        ),
        (
            EndpointAuthentication(type="header", name="X-Key", sealed=SEALED),
            {"type": "header", "name": "X-Key", "value": REDACTED},
        ),
    ],
)
def test_authentication_is_shown_as_it_may_be_sent_back(
    stored: EndpointAuthentication, shown: dict[str, str]
) -> None:
    assert view(after(WebhookCreated(endpoint=endpoint(authentication=stored)))).authentication == shown


@given(st.text(alphabet="0123456789ABCDEFGHJKMNPQRSTVWXYZ", min_size=26, max_size=26))
def test_every_id_has_a_shard_of_its_own_for_ever(id: str) -> None:
    assert 0 <= shard_of(id) < SHARDS
    assert shard_of(id) == shard_of(id)


def test_shards_never_move() -> None:
    assert [shard_of(id) for id in (ID, ORGANIZATION, "01M7YVZ1Y6N9DEGT6SXCKXDJZS")] == [5, 3, 4]
