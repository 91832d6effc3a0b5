"""Organizations as their table holds them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from executor.domain.plans import Plan
from executor.domain.values import Instant
from executor.ports import Organization


def organization_of(row: Sequence[Any]) -> Organization:
    id, name, sealed_key, created_at, plan, own_runs_at_once = row
    return Organization(
        id=id,
        name=name,
        sealed_key=sealed_key,
        created_at=Instant(created_at),
        plan=Plan(plan),
        own_runs_at_once=own_runs_at_once,
    )
