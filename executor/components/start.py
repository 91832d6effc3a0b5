"""`start`: where a run begins. Its output is the run's input."""

from __future__ import annotations

from typing import ClassVar

from executor.components.base import Component, Context, Output, config_of


class Start(Component):
    type = "start"
    name = "Start"
    description = "Where an execution begins; its output is the execution's parameters."
    category = "control"
    is_instant = True
    config_schema = config_of({"trigger_type": {"type": "string", "maxLength": 64, "default": "manual"}})
    output_schema: ClassVar = {"type": "object"}

    async def run(self, context: Context) -> Output:
        return Output(context.input)
