"""Commands of whoever owns the data directory: through the running hub, or on the store where none runs."""

from __future__ import annotations

import asyncio
import contextlib
import functools
from base64 import b64decode
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from pathlib import Path
from typing import Any, NamedTuple

from msgspec import to_builtins

from executor.clock import SystemClock
from executor.domain.errors import Invalid, Refusal
from executor.domain.plans import Plan
from executor.domain.values import Instant
from executor.ports import Clock, Metadata, Store
from executor.sealing import SecretKey
from hub import control, replay_orders
from hub.auth.apikeys import new_key
from hub.keys import check_grant, organization_named
from hub.keys import create_key as record_key
from hub.organizations import forget_key, listed, make_key, set_plan
from hub.retention import Archivist, before
from hub.settings import Settings
from hub.times import parse_time
from hub.wiring import opened_store
from storage.differences import decode_repairs
from storage.errors import Locked, StorageError

PATIENCE_SECONDS = 10.0
_PAUSE_SECONDS = 0.1


class OperatorError(Exception):
    """The command was not done; says why."""


class Site(NamedTuple):
    """What a command works on, in the process that holds the store. `forget_key` lets go of an organization's data
    key wherever that process has it; `is_served` where that process is a hub."""

    settings: Settings
    store: Store
    clock: Clock
    secret_key: SecretKey
    forget_key: Callable[[str], None] = lambda organization_id: None
    is_served: bool = False


async def asked(settings: Settings, command: str, **wish: Any) -> Any:
    """What a command of `COMMANDS` answers. Only the first key makes a hub's data where there is none; every other
    command is about what is there. Raises `OperatorError`."""
    makes = command == "create_key"
    clock, waited = SystemClock(), 0.0
    while True:
        try:
            async with opened_store(settings, clock, makes=makes) as (store, secret_key):
                return await COMMANDS[command](Site(settings, store, clock, secret_key), **wish)
        except Locked as locked:
            try:
                return await control.ask(settings.data_dir, command, **wish)
            except control.ControlError as error:
                raise OperatorError(str(error)) from None
            except OSError:
                # A hub that is starting, or another command such as this one: both are over soon.
                if waited >= PATIENCE_SECONDS:
                    raise OperatorError(f"{locked}, and it does not answer here") from None
        except (Refusal, StorageError) as error:
            raise OperatorError(str(error)) from None
        await asyncio.sleep(_PAUSE_SECONDS)
        waited += _PAUSE_SECONDS


Ask = Callable[..., Awaitable[Any]]
"""(command, **wish), as `asked`."""


@contextlib.asynccontextmanager
async def asking(settings: Settings) -> AsyncIterator[Ask]:
    """For many commands: all over one opened store, or each through the hub that has it. Raises `OperatorError`."""
    clock = SystemClock()
    async with contextlib.AsyncExitStack() as stack:
        try:
            store, secret_key = await stack.enter_async_context(opened_store(settings, clock, makes=False))
        except Locked:
            yield functools.partial(asked, settings)
            return
        except (Refusal, StorageError) as error:
            raise OperatorError(str(error)) from None
        site = Site(settings, store, clock, secret_key)

        async def ask(command: str, **wish: Any) -> Any:
            try:
                return await COMMANDS[command](site, **wish)
            except Refusal as error:
                raise OperatorError(str(error)) from None

        yield ask


def served_by(site: Callable[[], Site]) -> dict[str, control.Command]:
    """The commands as a running hub answers them."""

    def command(perform: Perform) -> control.Command:
        async def answer(fields: dict[str, Any]) -> Any:
            try:
                return await perform(site(), **fields)
            except OperatorError as error:
                raise control.ControlError(str(error)) from None

        return answer

    return {name: command(perform) for name, perform in COMMANDS.items()}


async def _create_key(site: Site, **wish: Any) -> str:
    return await perform_create_key(site.store, site.clock, site.secret_key, site.settings.plan, **wish)


async def _archive(site: Site, *, older_than: float, directory: str | None, is_dry: bool) -> Any:
    archivist = Archivist(site.store, site.clock, Path(directory) if directory else site.settings.archive)
    return to_builtins(await archivist.run(before(site.clock.now(), older_than), is_dry=is_dry))


async def _list_organizations(site: Site) -> Any:
    return to_builtins(await listed(site.store.ledgers.organizations))


async def _forget_key(site: Site, *, name: str) -> None:
    site.forget_key(await forget_key(site.store.ledgers.organizations, name))


async def _new_key(site: Site, *, name: str) -> None:
    site.forget_key(await make_key(site.store.ledgers.organizations, site.secret_key, name))


async def _set_plan(site: Site, *, name: str, plan: str, runs_at_once: int | None) -> Any:
    return to_builtins(await set_plan(site.store.ledgers.organizations, name, plan, runs_at_once))


async def _start_replay(site: Site, **wish: Any) -> Any:
    return await replay_orders.start(site.store, site.clock, **wish) | _served(site)


async def _show_replay(site: Site, *, id: str) -> Any:
    return await replay_orders.show(site.store, id=id) | _served(site)


async def _cancel_replay(site: Site, *, id: str) -> Any:
    return await replay_orders.cancel(site.store, site.clock, id=id) | _served(site)


def _served(site: Site) -> dict[str, bool]:
    """Whether somebody may be there who does what is written: who shares a store is not known."""
    return {"is_served": site.is_served or site.store.is_shared}


async def _repair(site: Site, *, repairs: str) -> list[str]:
    """`repairs` are encoded, as base64; answers the streams that were left alone."""
    try:
        return await site.store.projections.repair(decode_repairs(b64decode(repairs)))
    except (ValueError, StorageError) as error:
        raise OperatorError(f"rows cannot be written: {error}") from None


async def _note(site: Site, *, notes: dict[str, str | None]) -> dict[str, str]:
    """Answers all notes of rebuilds that there are then."""
    if notes:
        await site.store.projections.note(notes)
    return await site.store.projections.notes()


Perform = Callable[..., Awaitable[Any]]

COMMANDS: Mapping[str, Perform] = {
    "create_key": _create_key,
    "archive": _archive,
    "list_organizations": _list_organizations,
    "forget_key": _forget_key,
    "new_key": _new_key,
    "set_plan": _set_plan,
    "start_replay": _start_replay,
    "show_replay": _show_replay,
    "cancel_replay": _cancel_replay,
    "repair": _repair,
    "note": _note,
}
"""By name, what is done with a `Site` and the fields of a wish; the answer is JSON."""


async def perform_create_key(
    store: Store,
    clock: Clock,
    secret_key: SecretKey,
    plan: Plan,
    *,
    name: str,
    organization: str,
    role: str | None,
    permissions: list[str],
    expires_at: str | None,
) -> str:
    """What the command does, in the process that holds the store."""
    if not name.strip() or not organization.strip():
        raise OperatorError("the name of a key and of an organization cannot be empty")
    expires, problems = _time(expires_at), check_grant(role, permissions)
    if problems:
        raise Invalid(problems)
    owner = await organization_named(store, clock, secret_key, organization, plan)
    key = new_key()
    await record_key(
        store,
        clock,
        secret_key,
        owner.id,
        Metadata(),
        name=name,
        key=key,
        role=role,
        permissions=tuple(permissions),
        expires_at=expires,
    )
    return key


def _time(text: str | None) -> Instant | None:
    if text is None:
        return None
    try:
        return parse_time(text)
    except ValueError as error:
        raise OperatorError(f"--expires-at {error}") from None
