"""`condition`: a question that connections can ask about: `output.result`, `!output.result`."""

from __future__ import annotations

from typing import ClassVar

from executor.components.base import EXPRESSION, Component, ComponentError, Context, Output, config_of
from executor.expressions import ExpressionError, is_true


class Condition(Component):
    type = "condition"
    name = "Condition"
    description = "Evaluates CEL to true or false; connections from it say `output.result` or `!output.result`."
    category = "control"
    is_instant = True
    config_schema = config_of({"expression": EXPRESSION}, "expression")
    output_schema: ClassVar = {
        "type": "object",
        "properties": {"result": {"type": "boolean"}},
        "required": ["result"],
    }

    async def run(self, context: Context) -> Output:
        try:
            return Output({"result": is_true(context.config["expression"], context.scope)})
        except ExpressionError as error:
            raise ComponentError(f"the expression failed: {error}") from None
