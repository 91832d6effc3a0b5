"""Agents found by name or id, ready to be asked: the credential opened, for one call."""

from __future__ import annotations

from typing import Final
from urllib.parse import urlsplit, urlunsplit

from msgspec import Struct

from executor.domain.agent import CREDENTIALS, DEFAULT_HEADER, State
from executor.domain.secrets import REDACTED
from executor.secrets import Opener

_CREDENTIAL: Final = "credential"


def credential_context(id: str) -> str:
    """What an agent's credential is sealed for."""
    return f"agent:{id}:{_CREDENTIAL}"


def below(url: str, path: str) -> str:
    """The URL of a path below an agent's own, without the query of that."""
    parts = urlsplit(url)
    return urlunsplit((parts.scheme, parts.netloc, parts.path.rstrip("/") + path, "", ""))


class Credential(Struct, frozen=True):
    """In clear: the secret, and the headers that carry it; empty where there is none."""

    secret: str = ""
    headers: dict[str, str] = {}

    def __repr__(self) -> str:
        return f"Credential({REDACTED})"


async def opened_credential(opener: Opener, state: State) -> Credential:
    """Raises `Unsealable`, and `Unavailable`."""
    field = CREDENTIALS.get(state.auth_type)
    if field is None:
        return Credential()
    sealed = state.auth_config[field]
    secret = await opener.open(state.organization_id, sealed, credential_context(state.id))
    if state.auth_type == "bearer":
        return Credential(secret, {"Authorization": f"Bearer {secret}"})
    return Credential(secret, {state.auth_config.get("header", DEFAULT_HEADER): secret})
