from __future__ import annotations

from typing import Any

from msgspec import structs

from executor.domain.agent import (
    AGGREGATE,
    AgentRow,
    Change,
    State,
    decide_delete,
    decide_register,
    decide_update,
    names,
    state_of,
)
from executor.domain.errors import Code
from executor.domain.events.agent import AgentDeleted, AgentRegistered, AgentUpdated, RetryConfig
from executor.domain.secrets import REDACTED
from executor.domain.values import RetryPolicy
from tests.given import ORGANIZATION, PERSON, SUBJECT, given, like

BEARER: dict[str, Any] = {"auth_type": "bearer", "auth_config": {"token": "sealed:v1:one"}}
REGISTERED = decide_register(State(), Change(name="reader", url="http://a", **BEARER))[0]
DELETED = AgentDeleted(name="reader")


def test_registering_fills_in_what_was_left_out() -> None:
    given(AGGREGATE).when(decide_register, Change(name="reader")).then(
        AgentRegistered(
            name="reader",
            description=None,
            url=None,
            agent_type="service",
            protocol="auto",
            capabilities=(),
            auth_type="none",
            auth_config={},
            timeout_ms=30_000,
            retry_config=RetryConfig(),
            availability="available",
            status="active",
        )
    )


def test_the_fold_knows_who_registered_it_and_the_row_has_all_of_it() -> None:
    state = given(AGGREGATE, REGISTERED).state
    assert (state.id, state.organization_id, state.created_by, state.version) == (SUBJECT, ORGANIZATION, PERSON, 1)
    (row,) = AGGREGATE.rows(State(), state)
    assert isinstance(row, AgentRow)
    assert (row.name, row.status, row.search) == ("reader", "active", "reader\n")
    assert state_of(row) == state


def test_an_update_is_the_whole_agent_and_says_what_changed() -> None:
    change = Change(description="reads", availability="busy", status="active")
    given(AGGREGATE, REGISTERED).when(decide_update, change).then(
        like(AgentUpdated, name="reader", description="reads", changed=("description", "availability"))
    )
    given(AGGREGATE, REGISTERED).when(decide_update, Change(name="reader", capabilities=())).then_nothing()


def test_redacted_keeps_the_credential_that_is_stored_for_the_same_kind_of_authentication() -> None:
    same = Change(auth_type="bearer", auth_config={"token": REDACTED})
    given(AGGREGATE, REGISTERED).when(decide_update, same).then_nothing()
    before = given(AGGREGATE, REGISTERED, AgentUpdated(**_with(auth_type="none", auth_config={}), changed=()))
    before.when(decide_update, same).refused(Code.VALIDATION_ERROR, field="auth_config.token")
    other = Change(auth_type="apikey", auth_config={"key": REDACTED})
    given(AGGREGATE, REGISTERED).when(decide_update, other).refused(Code.VALIDATION_ERROR, field="auth_config.key")


def test_a_deleted_agent_takes_no_command_and_its_name_is_free() -> None:
    assert names(given(AGGREGATE, REGISTERED).state) == (f"agent:{ORGANIZATION}:reader",)
    deleted = given(AGGREGATE, REGISTERED, DELETED)
    assert (deleted.state.status, names(deleted.state)) == ("deleted", ())
    deleted.when(decide_delete).refused(Code.RESOURCE_NOT_FOUND)
    deleted.when(decide_update, Change(status="active")).refused(Code.RESOURCE_NOT_FOUND)
    given(AGGREGATE).when(decide_delete).refused(Code.RESOURCE_NOT_FOUND)
    given(AGGREGATE, REGISTERED).when(decide_delete).then(DELETED)


def test_retries_count_what_follows_the_first_try() -> None:
    config = RetryConfig(max_retries=2, initial_delay_ms=1500, max_delay_ms=4000, backoff_multiplier=3)
    assert config.policy == RetryPolicy(
        max_attempts=3, initial_delay_seconds=1.5, max_delay_seconds=4, backoff_multiplier=3
    )


def _with(**fields: Any) -> dict[str, Any]:
    return structs.asdict(REGISTERED) | fields
