"""`loop`: runs its body for each of some items, or while a condition holds."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, ClassVar, Final

from executor.components.base import (
    EXPRESSION,
    Answer,
    Component,
    ComponentError,
    Context,
    Iterate,
    Output,
    config_of,
)
from executor.conditions import Variables
from executor.domain.execution.references import DEFAULT_ITEM, ITERATION
from executor.domain.references import VARIABLE_PATTERN
from executor.expressions import CONDITION_VARIABLES, ExpressionError, is_true

MOST_ITEMS: Final = 100_000
DEFAULT_MOST: Final = 1000
"""Iterations of a loop that runs while a condition holds, unless it says otherwise."""
_RESERVED: Final = (
    *(*CONDITION_VARIABLES, ITERATION, "workflow", "true", "false", "null", "in", "as", "break", "const", "continue"),
    *(
        "else",
        "for",
        "function",
        "if",
        "import",
        "let",
        "loop",
        "namespace",
        "package",
        "return",
        "var",
        "void",
        "while",
    ),
)
"""Names that are taken here, and what CEL reserves."""


class Turn(Mapping[str, Any]):
    """What a loop's condition sees: all that is around the loop, `output`, what the last iteration came to (null
    before the first), and `iteration.index`, the number of the next one."""

    def __init__(self, around: Variables, index: int) -> None:
        self._around, self._index = around, index
        self.names = tuple(dict.fromkeys((*around.names, ITERATION)))

    def __getitem__(self, name: str) -> Any:
        return {"index": self._index, "item": None} if name == ITERATION else self._around[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self.names)

    def __len__(self) -> int:
        return len(self.names)


class Loop(Component):
    type = "loop"
    name = "Loop"
    description = (
        "Runs `body`, a definition of its own, for each of `items`, at most `max_concurrency` at once; inside it, "
        "`${item}` (or what `as` calls it) and `${iteration.index}` are there. Or `while` an expression is true, at "
        "most `max_iterations` times. The output has what each iteration came to, in order."
    )
    category = "control"
    output_schema: ClassVar[dict[str, Any]] = {"type": "object", "properties": {"results": {"type": "array"}}}
    config_schema = config_of(
        {
            "items": {"type": "array", "maxItems": MOST_ITEMS},
            "as": {
                "type": "string",
                "pattern": f"^{VARIABLE_PATTERN}$",
                "maxLength": 64,
                "not": {"enum": list(_RESERVED)},
                "description": f"must be a name other than {', '.join(_RESERVED)}",
                "default": DEFAULT_ITEM,
            },
            "max_concurrency": {"type": "integer", "minimum": 1, "maximum": 1000, "default": 1},
            "while": EXPRESSION,
            "max_iterations": {"type": "integer", "minimum": 1, "maximum": MOST_ITEMS, "default": DEFAULT_MOST},
            "body": {"type": "object"},
        },
        "body",
        description="must say one of 'items' and 'while'; 'as' and 'max_concurrency' go with 'items', "
        "'max_iterations' with 'while'",
        oneOf=[{"required": ["items"]}, {"required": ["while"]}],
        dependentRequired={"as": ["items"], "max_concurrency": ["items"], "max_iterations": ["while"]},
    )

    async def run(self, context: Context) -> Answer:
        config = context.config
        if "items" in config:
            items = config["items"]
            return Iterate(len(items), config.get("max_concurrency", 1)) if items else Output({"results": []})
        return Iterate(None) if self._begins(context) else Output({"results": []})

    def _begins(self, context: Context) -> bool:
        """A condition on an output that is not there yet holds."""
        assert isinstance(context.variables, Variables)
        variables = Turn(context.variables.without_output(), 0)
        text = context.config["while"]
        try:
            return is_true(text, variables, variables.names)
        except ExpressionError as error:
            if "output" in text:
                return True
            raise ComponentError(f"the condition of the loop failed: {error}") from None
