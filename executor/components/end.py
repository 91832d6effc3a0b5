"""`end`: what its output says becomes the run's results."""

from __future__ import annotations

from typing import ClassVar

from executor.components.base import Component, Context, Output, config_of


class End(Component):
    type = "end"
    name = "End"
    description = "A result of the execution; the outputs of all ends that completed are merged."
    category = "control"
    is_instant = True
    config_schema = config_of({"output": {"type": "object", "default": {}}})
    output_schema: ClassVar = {"type": "object"}

    async def run(self, context: Context) -> Output:
        return Output(context.config.get("output", {}))
