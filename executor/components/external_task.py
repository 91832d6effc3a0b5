"""`external_task`: work for a worker that comes and claims it. Holds nothing while it waits."""

from __future__ import annotations

from typing import Any

from executor.components.base import Component, Context, Output, Suspend, config_of
from executor.components.tasks import DESCRIPTION, PRIORITY, TITLE, ended, suspended
from executor.domain.task.decide import Opening
from executor.domain.task.state import TaskKind
from executor.domain.values import PERSON_PATTERN


class ExternalTask(Component):
    type = "external_task"
    name = "External task"
    description = (
        "Waits for a worker that claims tasks of its `task_type` over REST, under a lease that it renews; what it "
        "returns is the output. A lost lease hands the task to the next worker and spends no retry."
    )
    category = "task"
    config_schema = config_of(
        {
            "task_type": {"type": "string", "minLength": 1, "maxLength": 255, "pattern": PERSON_PATTERN},
            "input": {},
            "title": TITLE,
            "description": DESCRIPTION,
            "priority": PRIORITY,
            "due_in_seconds": {"type": "number", "minimum": 0, "maximum": 315_360_000},
            "lease_seconds": {"type": "number", "minimum": 1, "maximum": 86_400, "default": 60},
        },
        "task_type",
    )
    passes_secrets = True

    async def run(self, context: Context) -> Suspend:
        config = context.config
        opening = Opening(
            kind=TaskKind.EXTERNAL,
            task_type=config["task_type"],
            title=config.get("title", context.component_id),
            description=config.get("description"),
            input=config.get("input"),
            priority=config.get("priority"),
            due_in_seconds=config.get("due_in_seconds"),
            lease_seconds=config.get("lease_seconds"),
        )
        return suspended(context, opening)

    def signalled(self, data: Any) -> Output:
        return ended(data)
