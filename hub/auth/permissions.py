"""What may be allowed: permission names, wildcards of them, and the roles made of them."""

from __future__ import annotations

from collections.abc import Iterable

_RESOURCES = ("workflow", "execution", "task", "agent", "template", "schedule", "webhook", "apikey")
_OTHERS = ("workflow.execute", "event.read", "event.replay", "system.read")

PERMISSIONS: frozenset[str] = frozenset(
    {f"{resource}.{verb}" for resource in _RESOURCES for verb in ("read", "write")} | set(_OTHERS)
)

ROLES: dict[str, frozenset[str]] = {
    "admin": PERMISSIONS,
    "read_write": frozenset(p for p in PERMISSIONS if not p.startswith("apikey.") and p != "event.replay"),
    "read_only": frozenset(p for p in PERMISSIONS if p.endswith(".read") and p != "apikey.read"),
}


def expanded(pattern: str) -> frozenset[str]:
    """The permissions that a name or a wildcard such as `workflow.*` stands for; empty for an unknown one."""
    if pattern.endswith(".*"):
        return frozenset(p for p in PERMISSIONS if p.startswith(pattern[:-1]))
    return frozenset({pattern}) & PERMISSIONS


def granted(role: str | None, permissions: Iterable[str]) -> frozenset[str]:
    """Everything that a role and a list of permissions allow together."""
    found = set(ROLES[role]) if role is not None else set()
    for pattern in permissions:
        found |= expanded(pattern)
    return frozenset(found)
