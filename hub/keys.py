"""Making API keys and organizations: for the routes, for the command, and at the first start."""

from __future__ import annotations

from collections.abc import Iterable

from executor.domain.errors import Code as ErrorCode
from executor.domain.errors import Invalid, Problem
from executor.domain.events import apikey
from executor.domain.plans import Plan
from executor.domain.values import Instant
from executor.handle import handle
from executor.ports import Clock, Metadata, Organization, Store
from executor.sealing import SecretKey
from hub.auth import apikeys
from hub.auth.permissions import PERMISSIONS, ROLES, expanded


def check_grant(role: str | None, permissions: Iterable[str], grantor: frozenset[str] = PERMISSIONS) -> list[Problem]:
    """Unknown roles and permissions, and what the grantor lacks itself."""
    problems = []
    if role is not None and role not in ROLES:
        known = ", ".join(ROLES)
        problems.append(Problem(ErrorCode.VALIDATION_ERROR, f"there is no role '{role}'; there are {known}", "role"))
    elif role is not None and not ROLES[role] <= grantor:
        missing = ", ".join(sorted(ROLES[role] - grantor))
        problems.append(
            Problem(ErrorCode.AUTHORIZATION_ERROR, f"a key cannot grant what it lacks: {missing}", "role")
        )
    for index, pattern in enumerate(permissions):
        field = f"permissions[{index}]"
        if not expanded(pattern):
            message = f"there is no permission '{pattern}'"
            problems.append(Problem(ErrorCode.VALIDATION_ERROR, message, field))
        elif not expanded(pattern) <= grantor:
            message = f"a key cannot grant what it lacks: '{pattern}'"
            problems.append(Problem(ErrorCode.AUTHORIZATION_ERROR, message, field))
    return sorted(problems, key=lambda problem: problem.code != ErrorCode.VALIDATION_ERROR)


async def organization_named(
    store: Store, clock: Clock, secret_key: SecretKey, name: str, plan: Plan = Plan.UNLIMITED
) -> Organization:
    """The organization of that name; made if it is new, with the plan."""
    known = await store.ledgers.organizations.by_name(name)
    if known is not None:
        return known
    id = clock.new_id()
    sealed = secret_key.new_organization_key(id)
    fresh = Organization(id=id, name=name, sealed_key=sealed, created_at=clock.now(), plan=plan)
    return await store.ledgers.organizations.add(fresh)


async def create_key(
    store: Store,
    clock: Clock,
    secret_key: SecretKey,
    organization_id: str,
    metadata: Metadata,
    *,
    name: str,
    key: str,
    description: str | None = None,
    role: str | None = None,
    permissions: tuple[str, ...] = (),
    expires_at: Instant | None = None,
) -> apikeys.State:
    """Records a key. Raises `Invalid` for what cannot be granted at all and `NameTaken` for a key that exists."""
    problems = check_grant(role, permissions)
    if expires_at is not None and expires_at <= clock.now():
        problems.append(Problem(ErrorCode.VALIDATION_ERROR, "expires_at has passed already", "expires_at"))
    if role is None and not permissions:
        problems.append(Problem(ErrorCode.VALIDATION_ERROR, "give a role or permissions", "permissions"))
    if problems:
        raise Invalid(problems)
    event = apikey.ApiKeyCreated(
        name=name,
        description=description,
        prefix=apikeys.shown_prefix(key),
        digest=secret_key.digest(key),
        role=role,
        permissions=permissions,
        expires_at=expires_at,
        created_by=metadata.actor.rpartition(":")[2] if ":" in metadata.actor else None,
    )
    done = await handle(
        store.log,
        clock,
        f"apikey:{clock.new_id()}",
        lambda state: [event],
        organization_id=organization_id,
        metadata=metadata,
    )
    state: apikeys.State = done.state
    return state
