"""`human_task`: a person does something and enters what came of it. Holds nothing while it waits, if for months."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from executor.components.base import Component, ComponentError, Context, Output, Suspend, config_of
from executor.components.tasks import DESCRIPTION, PRIORITY, TITLE, ended, suspended
from executor.domain.references import find
from executor.domain.task.decide import Opening, Step
from executor.domain.task.state import TaskKind
from executor.domain.values import PERSON_PATTERN
from executor.forms import form_faults

_PERSON: dict[str, Any] = {"type": "string", "minLength": 1, "maxLength": 255, "pattern": PERSON_PATTERN}
_SECONDS: dict[str, Any] = {"type": "number", "minimum": 0, "maximum": 315_360_000}
_LEVEL: dict[str, Any] = {
    "type": "object",
    "properties": {
        "after_seconds": _SECONDS,
        "reassign_to": _PERSON,
        "notify": {"type": "array", "items": _PERSON, "maxItems": 100},
    },
    "additionalProperties": False,
}


class HumanTask(Component):
    type = "human_task"
    name = "Human task"
    description = (
        "Waits for a person: the task is listed, claimed, done and completed over REST. What they enter is checked "
        "against `form` and is the output. Open for too long, it escalates."
    )
    category = "task"
    config_schema = config_of(
        {
            "title": TITLE,
            "description": DESCRIPTION,
            "assignee": _PERSON,
            "candidates": {"type": "array", "items": _PERSON, "maxItems": 1000},
            "form": {"type": "object"},
            "data": {},
            "due_in_seconds": _SECONDS,
            "escalation": {
                "description": "must be a level {after_seconds, reassign_to, notify}, or a list of such levels",
                "anyOf": [_LEVEL, {"type": "array", "items": _LEVEL, "maxItems": 20}],
            },
            "priority": PRIORITY,
        },
    )

    def faults(self, config: dict[str, Any]) -> Iterable[tuple[str, str]]:
        form = config.get("form")
        if isinstance(form, dict) and not any(find(form, "")):
            for at, why in form_faults(form):
                yield f"form.{at}" if at else "form", why
        escalation = config.get("escalation")
        levels = escalation if isinstance(escalation, list) else [escalation]
        for level in levels:
            if isinstance(level, dict) and "after_seconds" not in level and "due_in_seconds" not in config:
                yield "escalation", "say after how long: 'after_seconds', or 'due_in_seconds' of the task"
                return

    async def run(self, context: Context) -> Suspend:
        config = context.config
        if faults := [why for _, why in self.faults(config)]:
            raise ComponentError("; ".join(faults))
        escalation = config.get("escalation", [])
        levels = escalation if isinstance(escalation, list) else [escalation]
        opening = Opening(
            kind=TaskKind.HUMAN,
            title=config.get("title", context.component_id),
            description=config.get("description"),
            assignee=config.get("assignee"),
            candidates=tuple(config.get("candidates", ())),
            form=config.get("form"),
            data=config.get("data"),
            priority=config.get("priority"),
            due_in_seconds=config.get("due_in_seconds"),
            escalation=tuple(_step(level) for level in levels),
        )
        return suspended(context, opening)

    def signalled(self, data: Any) -> Output:
        return ended(data)


def _step(level: dict[str, Any]) -> Step:
    return Step(
        after_seconds=level.get("after_seconds"),
        reassign_to=level.get("reassign_to"),
        notify=tuple(level.get("notify", ())),
    )
