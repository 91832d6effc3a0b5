"""Given events, when a command, then events: for webhook endpoints."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import msgspec

from executor.domain.events import Event, Fact, Stamp
from executor.domain.events.webhook import Endpoint, WebhookCreated
from executor.domain.values import Instant
from webhooks.endpoint import EndpointChange, State, decide_create, evolve, initial

ID, ORGANIZATION = "01ARZ3NDEKTSV4RRFFQ69G5FAV", "01ARZ3NDEKTSV4RRFFQ69G5FAW"
SEALED = "sealed:v1:AAAA"
CHANGE = EndpointChange(url="https://example.com/hook", events=("execution.*",), sealed_secret=SEALED)


def endpoint(**fields: Any) -> Endpoint:
    (created,) = decide_create(initial(), CHANGE)
    assert isinstance(created, WebhookCreated)
    return msgspec.structs.replace(created.endpoint, **fields)


def after(*events: Event) -> State:
    """The fold of these events, a second apart."""
    facts = [
        Fact(event, Stamp(Instant(f"2026-01-01T00:00:{n:02}.000Z"), ORGANIZATION, ID, n, "api_key:KEY"))
        for n, event in enumerate(events, 1)
    ]
    return evolve(initial(), facts)


def decided(given: Sequence[Event], when: Callable[[State], Sequence[Event]], then: Sequence[Event]) -> None:
    assert list(when(after(*given))) == list(then)


CREATED = WebhookCreated(endpoint=endpoint())
