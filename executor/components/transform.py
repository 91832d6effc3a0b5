"""`transform`: a new value from what is there, as a mapping with references or as a CEL expression."""

from __future__ import annotations

from executor.components.base import EXPRESSION, Component, ComponentError, Context, Output, config_of
from executor.expressions import ExpressionError, evaluate


class Transform(Component):
    type = "transform"
    name = "Transform"
    description = "Makes a value: `output` is a mapping with references, `expression` is CEL."
    category = "data"
    is_instant = True
    config_schema = config_of(
        {"output": {"type": "object"}, "expression": EXPRESSION}, minProperties=1, maxProperties=1
    )

    async def run(self, context: Context) -> Output:
        if "output" in context.config:
            return Output(context.config["output"])
        try:
            return Output(evaluate(context.config["expression"], context.scope))
        except ExpressionError as error:
            raise ComponentError(f"the expression failed: {error}") from None
