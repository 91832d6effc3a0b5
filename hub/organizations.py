"""Organizations as the operator sees them, and the end of an organization's data key.

All that is sealed for an organization, in the log, in archives and in backups made from here on, is sealed under one
data key of its own. Forgetting that key forgets all of it at once.
"""

from __future__ import annotations

from msgspec import Struct

from executor.domain.errors import Code, Invalid, NotFound, Problem, ResourceConflict
from executor.domain.plans import Plan
from executor.domain.values import Instant
from executor.ports import Organization, Organizations
from executor.sealing import SecretKey


class Listed(Struct, frozen=True, kw_only=True):
    """`has_key` is false once the key was forgotten."""

    id: str
    name: str
    created_at: Instant
    has_key: bool
    plan: str
    runs_at_once: int | None


async def listed(organizations: Organizations) -> list[Listed]:
    """By name."""
    return [_listed(each) for each in await organizations.all()]


def _listed(each: Organization) -> Listed:
    return Listed(
        id=each.id,
        name=each.name,
        created_at=each.created_at,
        has_key=bool(each.sealed_key),
        plan=each.plan,
        runs_at_once=each.runs_at_once,
    )


async def set_plan(organizations: Organizations, name: str, plan: str, own: int | None) -> Listed:
    """Gives an organization a plan, a custom one with a number of runs at once of its own. Raises `NotFound`,
    `Invalid`."""
    organization = await _named(organizations, name)
    if plan not in list(Plan):
        raise _wrong("plan", f"'{plan}' is not a plan; there are {', '.join(Plan)}")
    if plan == Plan.CUSTOM and own is None:
        raise _wrong("runs_at_once", "the plan 'custom' needs a number: --runs-at-once 10")
    if plan != Plan.CUSTOM and own is not None:
        raise _wrong("runs_at_once", "goes with the plan 'custom', and with no other")
    if own is not None and own < 1:
        raise _wrong("runs_at_once", f"{own} is less than 1")
    await organizations.set_plan(organization.id, Plan(plan), own)
    return _listed(await _named(organizations, name))


def _wrong(field: str, why: str) -> Invalid:
    return Invalid([Problem(Code.VALIDATION_ERROR, f"{field}: {why}", field)])


async def forget_key(organizations: Organizations, name: str) -> str:
    """Deletes the organization's data key for ever; answers its id. Raises `NotFound`, `ResourceConflict`."""
    organization = await _named(organizations, name)
    if not organization.sealed_key:
        raise ResourceConflict(f"the key of organization '{name}' was forgotten already")
    return await _replaced(organizations, organization, "")


async def make_key(organizations: Organizations, secret_key: SecretKey, name: str) -> str:
    """Gives an organization whose key was forgotten a new one; answers its id. Raises `NotFound`, and
    `ResourceConflict` for one that has a key: what is sealed under that one would be lost."""
    organization = await _named(organizations, name)
    if organization.sealed_key:
        raise ResourceConflict(f"organization '{name}' has a key; a new one is only for one whose key was forgotten")
    return await _replaced(organizations, organization, secret_key.new_organization_key(organization.id))


async def _named(organizations: Organizations, name: str) -> Organization:
    organization = await organizations.by_name(name)
    if organization is None:
        raise NotFound("organization", name)
    return organization


async def _replaced(organizations: Organizations, organization: Organization, sealed_key: str) -> str:
    if not await organizations.replace_key(organization.id, organization.sealed_key, sealed_key):
        raise ResourceConflict(f"the key of organization '{organization.name}' has just changed; look again")
    return organization.id
