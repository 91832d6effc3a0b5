"""What organizations may use, by tier."""

from __future__ import annotations

from enum import StrEnum
from typing import Final


class Plan(StrEnum):
    """`custom` has numbers of its own."""

    FREE = "free"
    PRO = "pro"
    ENTERPRISE = "enterprise"
    UNLIMITED = "unlimited"
    CUSTOM = "custom"


RUNS_AT_ONCE: Final[dict[Plan, int | None]] = {
    Plan.FREE: 5,
    Plan.PRO: 25,
    Plan.ENTERPRISE: 100,
    Plan.UNLIMITED: None,
    Plan.CUSTOM: None,
}
"""How many runs of an organization may have begun and not ended; None for any number."""


def runs_at_once(plan: Plan, own: int | None) -> int | None:
    """The limit of an organization, with the number of its own where its plan is custom."""
    return own if plan is Plan.CUSTOM else RUNS_AT_ONCE[plan]
