"""API keys of the caller's organization, and who the caller is."""

from __future__ import annotations

from typing import Annotated

import msgspec
from msgspec import Meta, Struct

from executor.domain.errors import Invalid, NotFound
from executor.domain.values import Instant, is_ulid
from executor.handle import handle
from executor.ports import Eq, Order, RowQuery
from hub.auth.apikeys import ApiKeyRow, ApiKeyView, decide_revoke, new_key
from hub.auth.permissions import granted
from hub.envelope import Answer
from hub.errors import Forbidden
from hub.keys import check_grant, create_key
from hub.operation import ANYBODY, Call, NoBody, Resource
from hub.queries import NoQuery, Paging, page_of
from hub.times import TimeValue, time_of

RESOURCE = Resource("auth")


class CreateApiKey(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A role, or permissions, or both together."""

    name: Annotated[str, Meta(min_length=1, max_length=255, pattern=r"\S")]
    description: Annotated[str, Meta(max_length=1000)] | None = None
    expires_at: TimeValue | None = None
    role: str | None = None
    permissions: Annotated[tuple[str, ...], Meta(max_length=100)] = ()


class ShownKey(ApiKeyView, frozen=True, kw_only=True):
    last_used_at: Instant | None = None


class NewKey(ApiKeyView, frozen=True, kw_only=True):
    """`api_key` is shown this once."""

    api_key: str


class Me(Struct, frozen=True, kw_only=True):
    type: str
    id: str
    name: str
    organization: dict[str, str]
    role: str | None
    permissions: tuple[str, ...]
    expires_at: Instant | None


@RESOURCE.route("GET", "/me", needs=ANYBODY)
async def me(call: Call[NoBody, NoQuery]) -> Answer:
    """Who the credentials belong to, and what they allow."""
    who = call.principal
    return Answer(
        Me(
            type=who.type,
            id=who.id,
            name=who.name,
            organization={"id": who.organization_id, "name": who.organization_name},
            role=who.role,
            permissions=tuple(sorted(who.permissions)),
            expires_at=who.expires_at,
        )
    )


@RESOURCE.route("POST", "/auth/api-keys", needs="apikey.write", body=CreateApiKey, status=201)
async def create(call: Call[CreateApiKey, NoQuery]) -> Answer:
    """Create an API key; the key itself is shown this once."""
    body, key = call.body, new_key()
    problems = check_grant(body.role, body.permissions, call.principal.permissions)
    if problems:
        raise Invalid(problems)
    state = await create_key(
        call.hub.store,
        call.hub.clock,
        call.hub.secret_key,
        call.organization_id,
        call.metadata,
        name=body.name,
        key=key,
        description=body.description,
        role=body.role,
        permissions=body.permissions,
        expires_at=time_of(body.expires_at, "expires_at"),
    )
    fields = {name: getattr(state, name) for name in ApiKeyView.__struct_fields__}
    return Answer(NewKey(**fields, api_key=key), "API key created; it is not shown again")


@RESOURCE.route("GET", "/auth/api-keys", needs="apikey.read", query=Paging)
async def list_(call: Call[NoBody, Paging]) -> Answer:
    """List API keys that are not revoked, without the keys."""
    where = (Eq("organization_id", call.organization_id), Eq("revoked", 0))
    order = (Order("created_at", True), Order("id", True))
    rows, page = await page_of(call.hub.store.reads, ApiKeyRow, where, order, call.query)
    used = await call.hub.authenticator.last_used([row.id for row in rows])
    shown = [
        msgspec.structs.replace(msgspec.json.decode(row.document, type=ShownKey), last_used_at=used.get(row.id))
        for row in rows
    ]
    return Answer(shown, page=page)


@RESOURCE.route("DELETE", "/auth/api-keys/{id}", needs="apikey.write")
async def revoke(call: Call[NoBody, NoQuery]) -> Answer:
    """Revoke an API key, at once; not one that may do more than the caller's."""
    id = call.path["id"]
    where = (Eq("organization_id", call.organization_id), Eq("id", id))
    found = await call.hub.store.reads.find(ApiKeyRow, RowQuery(where=where)) if is_ulid(id) else []
    if not found:
        raise NotFound("API key", id)
    key = msgspec.json.decode(found[0].document, type=ApiKeyView)
    missing = granted(key.role, key.permissions) - call.principal.permissions
    if missing:
        raise Forbidden(min(missing))
    await handle(
        call.hub.store.log,
        call.hub.clock,
        f"apikey:{id}",
        decide_revoke,
        organization_id=call.organization_id,
        metadata=call.metadata,
    )
    return Answer(None, "API key revoked")
