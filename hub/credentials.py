"""What the data directory keeps of a hub: its secret key and the first admin key, for their owner only."""

from __future__ import annotations

import contextlib
import os
import secrets
from pathlib import Path
from typing import NamedTuple

import msgspec
import structlog
from msgspec import Struct

from executor.ports import Clock, Eq, Metadata, NameTaken, RowQuery, Store
from executor.sealing import SecretKey, Unsealable
from hub.auth.apikeys import ApiKeyRow, ApiKeyView, new_key
from hub.keys import create_key, organization_named
from hub.settings import Settings
from storage.errors import StorageError

DEFAULT_ORGANIZATION = "default"
_logger = structlog.get_logger(__name__)


class Credentials(Struct, frozen=True, kw_only=True):
    """`credentials.json`."""

    api_key: str
    organization_id: str

    def __repr__(self) -> str:
        return f"Credentials(api_key='[REDACTED]', organization_id={self.organization_id!r})"


def credentials_path(data_dir: Path) -> Path:
    return data_dir / "credentials.json"


def read_credentials(data_dir: Path) -> Credentials | None:
    try:
        return msgspec.json.decode(credentials_path(data_dir).read_bytes(), type=Credentials)
    except (OSError, msgspec.MsgspecError, UnicodeDecodeError):
        return None


class WrongSecretKey(StorageError):
    """The secret key is missing, unreadable, or not the one that this data was sealed with."""


_FIRST_START = "first start"
"""Of the processes that start at once, one is first."""


async def ensure_secret_key(store: Store, clock: Clock, settings: Settings) -> SecretKey:
    """The key that everything in the store is sealed with: the first process to open a new one says which it is, and
    seals the first organization's with it, where others will look.

    Raises `WrongSecretKey`.
    """
    async with store.exclusively(_FIRST_START):
        default = await store.ledgers.organizations.by_name(DEFAULT_ORGANIZATION)
        is_new = default is None and await store.log.refresh() == 0
        key = secret_key(settings, is_new=is_new)
        await require_secret_key(store, key)
        if store.is_shared:
            await organization_named(store, clock, key, DEFAULT_ORGANIZATION, settings.plan)
    return key


def secret_key(settings: Settings, *, is_new: bool) -> SecretKey:
    """From the settings, else from the data directory, where it is made for a new log, and for no other; of several
    processes that make one at once, the first one's holds.

    Raises `WrongSecretKey`.
    """
    if settings.secret_key is not None:
        return SecretKey.from_text(settings.secret_key)
    path = settings.data_dir / "secret.key"
    try:
        text = path.read_text().strip()
    except FileNotFoundError:
        if not is_new:
            raise WrongSecretKey(
                f"'{path}' is not there, and the data was sealed with another process's or an earlier key; put that "
                "file there, or set RUNCAST_SECRET_KEY"
            ) from None
        with contextlib.suppress(FileExistsError):
            _write_private(path, secrets.token_urlsafe(48).encode(), is_new=True)
        text = path.read_text().strip()
    except UnicodeDecodeError:
        text = ""
    if not text:
        raise WrongSecretKey(f"'{path}' does not hold a key; put the right one back")
    return SecretKey.from_text(text)


async def require_secret_key(store: Store, key: SecretKey) -> None:
    """Raises `WrongSecretKey` where the key does not open what was sealed here before."""
    sealed = [each for each in await store.ledgers.organizations.all() if each.sealed_key]
    if not sealed:
        return
    organization = min(sealed, key=lambda each: (each.name != DEFAULT_ORGANIZATION, each.id))
    try:
        key.organization_key(organization.id, organization.sealed_key)
    except Unsealable:
        raise WrongSecretKey(
            "the secret key (RUNCAST_SECRET_KEY, or secret.key in the data directory) is not the one that this data "
            "was sealed with; without it neither API keys nor secrets can be read"
        ) from None


class FirstKey(NamedTuple):
    """`is_new` where it should be shown; no credentials where a process elsewhere made and keeps them."""

    credentials: Credentials | None
    is_new: bool


async def ensure_first_key(store: Store, clock: Clock, key: SecretKey, settings: Settings) -> FirstKey:
    """The first admin key: the given one, the kept one, or a new one."""
    async with store.exclusively(_FIRST_START):
        kept = read_credentials(settings.data_dir)
        if settings.bootstrap_api_key is None and kept is None and store.is_shared and await _has_admin(store):
            return FirstKey(None, False)
        return await _first_key(store, clock, key, settings, kept)


async def _has_admin(store: Store) -> bool:
    """Whether somebody can make more keys; of many machines, each would make its own otherwise."""
    organization = await store.ledgers.organizations.by_name(DEFAULT_ORGANIZATION)
    if organization is None:
        return False
    where = (Eq("organization_id", organization.id), Eq("revoked", 0))
    rows = await store.reads.find(ApiKeyRow, RowQuery(where=where, limit=1000))
    return any(msgspec.json.decode(row.document, type=ApiKeyView).role == "admin" for row in rows)


async def _first_key(
    store: Store, clock: Clock, key: SecretKey, settings: Settings, kept: Credentials | None
) -> FirstKey:
    text = settings.bootstrap_api_key or (kept.api_key if kept else None)
    row = await store.reads.get(ApiKeyRow, key.digest(text)) if text is not None else None
    is_new = text is None or (row is not None and bool(row.revoked) and settings.bootstrap_api_key is None)
    if is_new or text is None:
        text, row = new_key(), None
    if row is not None and row.revoked:
        _logger.warning("bootstrap_key.revoked", hint="RUNCAST_BOOTSTRAP_API_KEY names a key that was revoked")
    if row is None:
        organization = await organization_named(store, clock, key, DEFAULT_ORGANIZATION, settings.plan)
        with contextlib.suppress(NameTaken):
            await create_key(
                store, clock, key, organization.id, Metadata(), name="first admin key", key=text, role="admin"
            )
        row = await store.reads.get(ApiKeyRow, key.digest(text))
    if row is None:
        raise RuntimeError("the first admin key was not recorded")
    credentials = Credentials(api_key=text, organization_id=row.organization_id)
    if settings.bootstrap_api_key is None and kept != credentials:
        _write_private(credentials_path(settings.data_dir), msgspec.json.format(msgspec.json.encode(credentials)))
    return FirstKey(credentials, is_new)


def _write_private(path: Path, data: bytes, *, is_new: bool = False) -> None:
    """Whole or not at all, and readable by the owner only from its first byte on. With `is_new`, raises
    `FileExistsError` where it is there."""
    temporary = path.with_name(f".{path.name}.{secrets.token_hex(8)}")
    descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with os.fdopen(descriptor, "wb") as file:
        file.write(data)
        file.flush()
        os.fsync(file.fileno())
    if not is_new:
        temporary.replace(path)
        return
    try:
        path.hardlink_to(temporary)
    finally:
        temporary.unlink()
