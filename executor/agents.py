"""Agents as they are asked: found by id or name, the credential opened for one call."""

from __future__ import annotations

from typing import Final
from urllib.parse import urlsplit, urlunsplit

from msgspec import Struct

from executor.components.base import ComponentError
from executor.domain.agent import CREDENTIALS, DEFAULT_HEADER, AgentRow, AgentStatus, State, state_of
from executor.domain.errors import Unavailable
from executor.domain.secrets import REDACTED
from executor.ports import Callee, Eq, FindAgent, In, Reads, RowQuery
from executor.sealing import Unsealable
from executor.secrets import Opener, forms_of

_THERE: Final = (str(AgentStatus.ACTIVE), str(AgentStatus.INACTIVE))


def credential_context(id: str) -> str:
    """What an agent's credential is sealed for."""
    return f"agent:{id}:credential"


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


class AgentDirectory:
    """Whom components may ask."""

    def __init__(self, reads: Reads, opener: Opener) -> None:
        self._reads, self._opener = reads, opener

    def of(self, organization_id: str, opened: set[str]) -> FindAgent:
        """See `AgentsOf`."""

        async def find(id: str | None, name: str | None) -> Callee:
            try:
                callee, secret = await self._callee(organization_id, id, name)
            except Unavailable as error:
                raise ComponentError(f"agents cannot be looked up for now: {error}", temporary=True) from None
            except Unsealable as error:
                raise ComponentError(f"the agent's credential cannot be opened: {error}") from None
            opened.update(forms_of(secret))
            return callee

        return find

    async def _callee(self, organization_id: str, id: str | None, name: str | None) -> tuple[Callee, str]:
        row = await self._row(organization_id, id, name)
        if row is None:
            said = f"of the id '{id}'" if id is not None else f"named '{name}'"
            raise ComponentError(f"there is no agent {said}")
        state = state_of(row)
        if state.status != AgentStatus.ACTIVE:
            raise ComponentError(f"the agent '{state.name}' is {state.status}; only active ones are asked")
        if state.url is None:
            raise ComponentError(f"the agent '{state.name}' has no URL to be asked at")
        credential = await opened_credential(self._opener, state)
        callee = Callee(
            id=state.id,
            name=state.name,
            url=state.url,
            protocol=state.protocol,
            headers=credential.headers,
            timeout_seconds=state.timeout_ms / 1000,
            retry=state.retry_config.policy,
        )
        return callee, credential.secret

    async def _row(self, organization_id: str, id: str | None, name: str | None) -> AgentRow | None:
        key = Eq("name", name) if id is None else Eq("id", id)
        where = (Eq("organization_id", organization_id), In("status", _THERE), key)
        return next(iter(await self._reads.find(AgentRow, RowQuery(where=where, limit=1))), None)
