"""Every kind of stream there is: what stores are opened with, and what a rebuild folds."""

from __future__ import annotations

from typing import Any, Final

from executor.domain import agent, schedule, template, workflow
from executor.domain.execution import rows as execution
from executor.domain.task import rows as task
from executor.ports import Aggregate
from hub.auth import apikeys
from webhooks import delivery, endpoint

AGGREGATES: Final[tuple[Aggregate[Any], ...]] = (
    workflow.AGGREGATE,
    template.AGGREGATE,
    schedule.AGGREGATE,
    execution.AGGREGATE,
    task.AGGREGATE,
    agent.AGGREGATE,
    apikeys.AGGREGATE,
    endpoint.AGGREGATE,
    delivery.AGGREGATE,
)
