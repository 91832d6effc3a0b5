"""The roles that a process of a hub may have, and what a process with one role alone needs."""

from __future__ import annotations

from enum import StrEnum
from typing import Final

from hub.settings import Settings


class Role(StrEnum):
    """`web` answers requests and serves sockets, `executor` runs executions, `worker` sends webhooks."""

    WEB = "web"
    EXECUTOR = "executor"
    WORKER = "worker"


Roles = frozenset[Role]
ALL: Final[Roles] = frozenset(Role)


class RoleRefused(Exception):
    """The settings have no room for a role beside others; says why, and what would help."""


def require_room(settings: Settings, roles: Roles) -> None:
    """Raises `RoleRefused` where a process with these roles could not work together with those that have the rest."""
    if roles == ALL:
        return
    names = " and ".join(f"'{role}'" for role in sorted(roles))
    if not (settings.database_url or "").startswith("postgresql"):
        raise RoleRefused(
            f"{names} runs one role beside others, and an SQLite log has room for one process only; set "
            "RUNCAST_DATABASE_URL=postgresql://…, or use 'runcast up', which runs all roles in one"
        )
    if settings.redis_url is None:
        raise RoleRefused(
            f"{names} works together with other processes over Redis; set RUNCAST_REDIS_URL=redis://host:6379, the "
            "same for all of them, or use 'runcast up', which brings its own"
        )
