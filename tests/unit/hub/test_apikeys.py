from __future__ import annotations

from typing import Any

import pytest

from executor.domain.errors import NotFound
from executor.domain.events import Fact, Stamp
from executor.domain.events.apikey import ApiKeyCreated, ApiKeyRevoked
from executor.domain.events.webhook import WebhookDeleted
from executor.domain.values import Instant
from hub.auth.apikeys import (
    AGGREGATE,
    KEY,
    ApiKeyRow,
    State,
    decide_revoke,
    evolve,
    names,
    new_key,
    rows,
    shown_prefix,
)

AT = Instant("2026-01-31T12:00:00.000Z")
CREATED = ApiKeyCreated(
    name="ci",
    description=None,
    prefix="sk_live_abcd",
    digest="d1gest",
    role=None,
    permissions=("workflow.read",),
    expires_at=None,
    created_by="someone",
)


def folded(*events: Any) -> State:
    return evolve(State(), [Fact(event, Stamp(AT, "acme", "id", n)) for n, event in enumerate(events, 1)])


def test_new_keys_are_of_the_form_and_never_the_same() -> None:
    keys = {new_key() for _ in range(200)}
    assert len(keys) == 200
    assert all(KEY.fullmatch(key) for key in keys)


@pytest.mark.parametrize(
    "text", ["", "sk_live_", "sk_prod_" + "a" * 32, "sk_live_" + "a" * 33, "sk_live_" + "é" * 32]
)
def test_other_texts_are_no_keys(text: str) -> None:
    assert KEY.fullmatch(text) is None


def test_so_little_of_a_key_is_shown_that_it_cannot_be_guessed() -> None:
    key = new_key()
    assert key.startswith(shown_prefix(key))
    assert len(key) - len(shown_prefix(key)) == 28


def test_a_key_is_revoked_once() -> None:
    state = folded(CREATED)
    assert (state.id, state.organization_id, state.revoked_at) == ("id", "acme", None)
    (event,) = decide_revoke(state)
    assert event == ApiKeyRevoked(name="ci")
    revoked = folded(CREATED, event)
    assert revoked.revoked_at == AT
    for gone in (revoked, State()):
        with pytest.raises(NotFound):
            decide_revoke(gone)


def test_its_row_is_found_by_its_digest_and_shows_no_secret() -> None:
    (row,) = rows(State(), folded(CREATED))
    assert isinstance(row, ApiKeyRow)
    assert (row.digest, row.revoked, row.version) == ("d1gest", 0, 1)
    assert b"d1gest" not in row.document
    (gone,) = rows(folded(CREATED), folded(CREATED, ApiKeyRevoked(name="ci")))
    assert isinstance(gone, ApiKeyRow)
    assert gone.revoked


def test_a_key_exists_once_whoever_brings_it() -> None:
    assert names(folded(CREATED)) == ("apikey:d1gest",)
    assert names(State()) == ()
    assert names(folded(CREATED, ApiKeyRevoked(name="ci"))) == ("apikey:d1gest",), "a revoked one does not come back"


def test_events_of_others_do_not_fold() -> None:
    with pytest.raises(TypeError, match=r"webhook\.deleted"):
        folded(CREATED, WebhookDeleted())
    assert AGGREGATE.prefix == "apikey"
