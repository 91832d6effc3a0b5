"""The bodies of POST and PUT `/agents`, and what is wrong with them beyond their shape."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Annotated, Any, Final, Literal, TypeVar

from msgspec import UNSET, Meta, Struct, UnsetType

from executor.domain.agent import CREDENTIALS, AgentType, Availability, Change, Protocol, State
from executor.domain.errors import Code, Problem
from executor.domain.events.agent import RetryConfig
from executor.domain.secrets import REDACTED
from executor.egress import Egress, header_problem

T = TypeVar("T")

_OUR_HEADERS: Final = frozenset(
    {
        *(
            "accept",
            "a2a-version",
            "connection",
            "content-encoding",
            "content-length",
            "content-type",
            "expect",
            "host",
        ),
        *("idempotency-key", "keep-alive", "te", "trailer", "transfer-encoding", "upgrade", "user-agent"),
        "x-runcast-attempt",
    }
)

Name = Annotated[str, Meta(min_length=1, max_length=255, pattern=r"\S")]
Description = Annotated[str, Meta(max_length=1000)]
Url = Annotated[str, Meta(min_length=1, max_length=2048)]
Capability = Annotated[str, Meta(min_length=1, max_length=128)]
Capabilities = Annotated[tuple[Capability, ...], Meta(max_length=100)]
Credential = Annotated[str, Meta(min_length=1, max_length=4096)]
Milliseconds = Annotated[int, Meta(ge=1000, le=300_000)]


class AuthConfig(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """bearer: token; apikey: key, and the name of the header that carries it (`X-API-Key`)."""

    token: Credential | None = None
    key: Credential | None = None
    header: Annotated[str, Meta(min_length=1, max_length=128)] | None = None


class UpdateAgent(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """PUT: fields left out keep their value, so does a credential that is `[REDACTED]`. Null means the default."""

    name: Name | UnsetType = UNSET
    description: Description | UnsetType | None = UNSET
    url: Url | UnsetType | None = UNSET
    agent_type: AgentType | UnsetType | None = UNSET
    protocol: Protocol | UnsetType | None = UNSET
    capabilities: Capabilities | UnsetType | None = UNSET
    auth_type: Literal["none", "bearer", "apikey"] | UnsetType | None = UNSET
    auth_config: AuthConfig | UnsetType | None = UNSET
    timeout_ms: Milliseconds | UnsetType | None = UNSET
    retry_config: RetryConfig | UnsetType | None = UNSET
    availability: Availability | UnsetType | None = UNSET
    status: Literal["active", "inactive"] | UnsetType | None = UNSET


class RegisterAgent(UpdateAgent, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """POST: `name` must be there, and `url` for all but people."""

    name: Name


_NEW: Final = State()


async def check(request: UpdateAgent, egress: Egress, stored: State | None) -> list[Problem]:
    """Everything that is wrong with a request, at once. `stored` is what a PUT changes."""
    problems = [*_reach(request, stored or _NEW), *_auth(request, stored or _NEW)]
    if isinstance(request.url, str):
        problems += [_problem("url", each) for each in await egress.check_reachable(request.url)]
    return problems


def change_of(request: UpdateAgent, stored: State) -> Change:
    """A request that was checked, as a change; the credential in it is still in clear."""
    given = {name: getattr(request, name) for name in request.__struct_fields__}
    wanted = {name: _default(name) if value is None else value for name, value in given.items() if value is not UNSET}
    for name in ("agent_type", "protocol", "availability"):
        if name in wanted:
            wanted[name] = str(wanted[name])
    config = _config(request, stored)
    if config is not stored.auth_config:
        wanted["auth_config"] = config
    return Change(**wanted)


def _default(name: str) -> Any:
    return "active" if name == "status" else getattr(_NEW, name)


def _reach(request: UpdateAgent, stored: State) -> Iterator[Problem]:
    url = _after(request.url, stored.url, None)
    agent_type = _after(request.agent_type, stored.agent_type, _NEW.agent_type)
    if url is None and agent_type != AgentType.HUMAN:
        yield _problem("url", "'url' is required: where the agent is asked; only people (agent_type human) have none")


def _auth(request: UpdateAgent, stored: State) -> Iterator[Problem]:
    if request.auth_type is UNSET and request.auth_config is UNSET:
        return
    auth_type = _after(request.auth_type, stored.auth_type, "none")
    config = _config(request, stored)
    needed = CREDENTIALS.get(auth_type)
    for field in config:
        if field != needed and not (field == "header" and auth_type == "apikey"):
            yield _problem(
                f"auth_config.{field}", f"'auth_config.{field}' does not go with the auth_type {auth_type}"
            )
    if needed is None:
        return
    at, credential = f"auth_config.{needed}", config.get(needed)
    if credential is None:
        yield _problem(at, f"'{at}' is required where the auth_type is {auth_type}")
    elif credential == REDACTED and stored.auth_type != auth_type:
        yield _problem(at, f"{REDACTED} keeps what is stored, but nothing is stored here; give the value")
    header = config.get("header") if auth_type == "apikey" else None
    if header is not None and (header_problem(header, "") or header.lower() in _OUR_HEADERS):
        yield _problem("auth_config.header", f"'{header}' is no name of a header, or of one that is ours to set")
    elif credential is not None and header_problem("Authorization", credential):
        yield _problem(at, f"'{at}' holds characters that HTTP does not allow in a header")


def _config(request: UpdateAgent, stored: State) -> dict[str, str]:
    """`auth_config` as it will be: what is given, else what is stored, unless another `auth_type` is given."""
    given = request.auth_config
    if isinstance(given, AuthConfig):
        fields = ((name, getattr(given, name)) for name in given.__struct_fields__)
        return {name: value for name, value in fields if value is not None}
    is_other = request.auth_type is not UNSET and _after(request.auth_type, "", "none") != stored.auth_type
    return {} if is_other or given is None else stored.auth_config


def _after(given: T | UnsetType | None, stored: T, default: T) -> T:
    if given is None:
        return default
    return stored if isinstance(given, UnsetType) else given


def _problem(field: str, message: str) -> Problem:
    return Problem(Code.VALIDATION_ERROR, message, field)
