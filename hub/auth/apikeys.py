"""API keys: their text, their fold and decider, their row. Only a keyed hash of a key is ever stored."""

from __future__ import annotations

import re
import secrets
import string
from collections.abc import Sequence
from typing import ClassVar

import msgspec
from msgspec import Struct, structs

from executor.domain.aggregate import Aggregate, Row
from executor.domain.errors import NotFound
from executor.domain.events import Event, Fact, apikey
from executor.domain.values import Instant

KEY = re.compile(r"sk_(live|test)_[A-Za-z0-9]{32}")
_ALPHABET = string.ascii_letters + string.digits
_PREFIX_LENGTH = 12


class State(Struct, frozen=True, kw_only=True):
    id: str = ""
    organization_id: str = ""
    name: str = ""
    description: str | None = None
    prefix: str = ""
    digest: str = ""
    role: str | None = None
    permissions: tuple[str, ...] = ()
    expires_at: Instant | None = None
    created_by: str | None = None
    created_at: Instant = Instant("")
    revoked_at: Instant | None = None
    version: int = 0


class ApiKeyView(Struct, frozen=True, kw_only=True):
    """A key as clients see it: everything but the key. `prefix` is its first characters."""

    id: str
    name: str
    description: str | None
    prefix: str
    role: str | None
    permissions: tuple[str, ...]
    expires_at: Instant | None
    created_by: str | None
    created_at: Instant
    revoked_at: Instant | None


class ApiKeyRow(Row, frozen=True, kw_only=True):
    table: ClassVar[str] = "api_keys"
    key: ClassVar[tuple[str, ...]] = ("digest",)
    id: str
    organization_id: str
    digest: str
    revoked: int
    created_at: Instant
    version: int
    document: bytes


def new_key() -> str:
    return "sk_live_" + "".join(secrets.choice(_ALPHABET) for _ in range(32))


def shown_prefix(key: str) -> str:
    """As much of a key as may be shown."""
    return key[:_PREFIX_LENGTH]


def evolve(state: State, facts: Sequence[Fact]) -> State:
    for event, stamp in facts:
        if isinstance(event, apikey.ApiKeyCreated):
            state = State(
                id=stamp.id,
                organization_id=stamp.organization_id,
                created_at=stamp.time,
                version=stamp.version,
                **structs.asdict(event),
            )
        elif isinstance(event, apikey.ApiKeyRevoked):
            state = structs.replace(state, revoked_at=stamp.time, version=stamp.version)
        else:
            raise TypeError(f"an API key does not fold {event.type}")
    return state


def decide_revoke(state: State) -> list[Event]:
    if state.revoked_at is not None or not state.id:
        raise NotFound("API key", state.id)
    return [apikey.ApiKeyRevoked(name=state.name)]


def rows(before: State, after: State) -> Sequence[Row]:
    view = ApiKeyView(**{name: getattr(after, name) for name in ApiKeyView.__struct_fields__})
    return (
        ApiKeyRow(
            id=after.id,
            organization_id=after.organization_id,
            digest=after.digest,
            revoked=after.revoked_at is not None,
            created_at=after.created_at,
            version=after.version,
            document=msgspec.json.encode(view),
        ),
    )


def names(state: State) -> tuple[str, ...]:
    """A key exists once, whoever brings it: several processes may start with the same one."""
    return (f"apikey:{state.digest}",) if state.digest else ()


AGGREGATE: Aggregate[State] = Aggregate(
    prefix="apikey", initial=State, evolve=evolve, rows=rows, names=names, kinds=(ApiKeyRow,)
)
