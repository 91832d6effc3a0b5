"""What the data directory keeps of an embedded hub: its secret key and the first admin key, for their owner only."""

from __future__ import annotations

import contextlib
import os
import secrets
from pathlib import Path

import msgspec
import structlog
from msgspec import Struct

from executor.ports import Clock, Metadata, NameTaken, Store
from executor.sealing import SecretKey, Unsealable
from hub.auth.apikeys import ApiKeyRow, new_key
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


def secret_key(settings: Settings, *, is_new: bool) -> SecretKey:
    """From the settings, else from the data directory, where it is made for a new log, and for no other.

    Raises `WrongSecretKey`.
    """
    if settings.secret_key is not None:
        return SecretKey.from_text(settings.secret_key)
    path = settings.data_dir / "secret.key"
    try:
        text = path.read_text().strip()
    except FileNotFoundError:
        if not is_new:
            raise WrongSecretKey(f"'{path}' is gone; put it back, or set RUNCAST_SECRET_KEY") from None
        text = secrets.token_urlsafe(48)
        _write_private(path, text.encode())
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


async def ensure_first_key(
    store: Store, clock: Clock, key: SecretKey, settings: Settings
) -> tuple[Credentials, bool]:
    """The first admin key: the given one, the kept one, or a new one. True where it is new and should be shown."""
    await require_secret_key(store, key)
    kept = read_credentials(settings.data_dir)
    text = settings.bootstrap_api_key or (kept.api_key if kept else None)
    row = await store.reads.get(ApiKeyRow, key.digest(text)) if text is not None else None
    is_new = text is None or (row is not None and bool(row.revoked) and settings.bootstrap_api_key is None)
    if is_new or text is None:
        text, row = new_key(), None
    if row is not None and row.revoked:
        _logger.warning("bootstrap_key.revoked", hint="RUNCAST_BOOTSTRAP_API_KEY names a key that was revoked")
    if row is None:
        organization = await organization_named(store, clock, key, DEFAULT_ORGANIZATION)
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
    return credentials, is_new


def _write_private(path: Path, data: bytes) -> None:
    """Whole or not at all, and readable by the owner only from its first byte on."""
    temporary = path.with_name(f".{path.name}.{os.getpid()}")
    descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    with os.fdopen(descriptor, "wb") as file:
        file.write(data)
        file.flush()
        os.fsync(file.fileno())
    temporary.replace(path)
