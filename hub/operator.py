"""Commands of whoever owns the data directory: through the running hub, or on the store where none runs."""

from __future__ import annotations

import asyncio
from typing import Any

from executor.clock import SystemClock
from executor.domain.errors import Invalid, Refusal
from executor.domain.values import Instant
from executor.ports import Clock, Metadata, Store
from executor.sealing import SecretKey
from hub import control
from hub.auth.apikeys import new_key
from hub.credentials import require_secret_key
from hub.keys import check_grant, organization_named
from hub.keys import create_key as record_key
from hub.settings import Settings
from hub.times import parse_time
from hub.wiring import opened_store
from storage.errors import Locked, StorageError

PATIENCE_SECONDS = 10.0
_PAUSE_SECONDS = 0.1


class OperatorError(Exception):
    """The command was not done; says why."""


async def create_key(
    settings: Settings,
    *,
    name: str,
    organization: str,
    role: str | None,
    permissions: tuple[str, ...],
    expires_at: str | None,
) -> str:
    """A new API key, in clear. Makes the organization if it is new."""
    wish: dict[str, Any] = {
        "name": name,
        "organization": organization,
        "role": role,
        "permissions": list(permissions),
        "expires_at": expires_at,
    }
    clock, waited = SystemClock(), 0.0
    while True:
        try:
            async with opened_store(settings, clock) as (store, secret_key):
                await require_secret_key(store, secret_key)
                return await perform_create_key(store, clock, secret_key, **wish)
        except Locked as locked:
            try:
                return str(await control.ask(settings.data_dir, "create_key", **wish))
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


async def perform_create_key(
    store: Store,
    clock: Clock,
    secret_key: SecretKey,
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
    owner = await organization_named(store, clock, secret_key, organization)
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
