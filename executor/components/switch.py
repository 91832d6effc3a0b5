"""`switch`: which of several cases it is; connections from it ask `output.case == 'name'`."""

from __future__ import annotations

from typing import Any, ClassVar

from executor.components.base import EXPRESSION, Component, ComponentError, Context, Output, config_of
from executor.expressions import ExpressionError, is_true

_NAME: dict[str, Any] = {"type": "string", "minLength": 1, "maxLength": 128}


class Switch(Component):
    type = "switch"
    name = "Switch"
    description = "Names the first of its cases whose CEL is true; connections from it say `output.case == 'name'`."
    category = "control"
    is_instant = True
    config_schema = config_of(
        {
            "cases": {
                "type": "array",
                "minItems": 1,
                "maxItems": 100,
                "items": config_of({"name": _NAME, "expression": EXPRESSION}, "name", "expression"),
            },
            "default": _NAME,
        },
        "cases",
    )
    output_schema: ClassVar = {
        "type": "object",
        "properties": {"case": {"type": ["string", "null"]}},
        "required": ["case"],
    }

    async def run(self, context: Context) -> Output:
        for case in context.config["cases"]:
            try:
                if is_true(case["expression"], context.scope):
                    return Output({"case": case["name"]})
            except ExpressionError as error:
                raise ComponentError(f"the expression of case '{case['name']}' failed: {error}") from None
        return Output({"case": context.config.get("default")})
