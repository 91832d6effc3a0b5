"""Replays as whoever owns the data directory orders them: of any organization."""

from __future__ import annotations

from typing import Any

from msgspec import to_builtins

from executor.domain.errors import Code, NotFound, Problem, Refusal
from executor.domain.values import is_ulid
from executor.ports import Clock, Metadata, Replay, Store
from hub.replays import ReplayCommands, ReplayTarget, StartReplay
from webhooks.commands import Caller
from webhooks.endpoint import WebhookRow

Answer = dict[str, Any]
"""`organization_id`, and `replay` as the API shows it."""


async def start(
    store: Store,
    clock: Clock,
    *,
    organization: str | None,
    webhook_id: str | None,
    first: str | None,
    last: str | None,
    types: list[str],
    execution_id: str | None,
    workflow_id: str | None,
) -> Answer:
    """Without a webhook its target is a channel. `organization` is a name or an id."""
    request = StartReplay(
        target=ReplayTarget(webhook_id=webhook_id) if webhook_id is not None else "channel",
        from_=first,
        to=last,
        types=tuple(types),
        execution_id=execution_id,
        workflow_id=workflow_id,
    )
    commands = ReplayCommands(store)
    organization_id = await _organization_id(store, organization, webhook_id)
    replay = await commands.start(Caller(organization_id, Metadata()), request, clock.new_id(), clock.now())
    return await _shown(commands, replay)


async def show(store: Store, *, id: str) -> Answer:
    """Raises `NotFound`."""
    commands = ReplayCommands(store)
    return await _shown(commands, await commands.get(await _owner(store, id), id))


async def cancel(store: Store, clock: Clock, *, id: str) -> Answer:
    """Raises `NotFound`, and `ResourceConflict` for one that has ended."""
    commands = ReplayCommands(store)
    return await _shown(commands, await commands.cancel(await _owner(store, id), id, clock.now()))


async def _shown(commands: ReplayCommands, replay: Replay) -> Answer:
    return {"organization_id": replay.organization_id, "replay": to_builtins(await commands.view(replay))}


async def _owner(store: Store, id: str) -> Caller:
    replay = await store.ledgers.replays.get(id) if is_ulid(id) else None
    if replay is None:
        raise NotFound("replay", id)
    return Caller(replay.organization_id, Metadata())


async def _organization_id(store: Store, wanted: str | None, webhook_id: str | None) -> str:
    """The one that is named, else the webhook's, else the only one."""
    known = await store.ledgers.organizations.all()
    if wanted is not None:
        found = [each.id for each in known if wanted in (each.id, each.name)]
        if not found:
            raise NotFound("organization", wanted)
        return found[0]
    if webhook_id is not None:
        row = await store.reads.get(WebhookRow, webhook_id) if is_ulid(webhook_id) else None
        if row is None:
            raise NotFound("webhook", webhook_id)
        return row.organization_id
    if len(known) != 1:
        names = ", ".join(each.name for each in known) or "there is none yet"
        raise Refusal([Problem(Code.VALIDATION_ERROR, f"say --organization: {names}")])
    return known[0].id
