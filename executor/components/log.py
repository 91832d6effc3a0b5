"""`log`: a line in the execution's log."""

from __future__ import annotations

from typing import Any, ClassVar

import msgspec

from executor.components.base import Component, Context, Output, config_of
from executor.domain.execution.inputs import LogLine
from executor.domain.values import LogLevel


class Log(Component):
    type = "log"
    name = "Log"
    description = "Writes a line to the execution's log."
    category = "observability"
    is_instant = True
    config_schema = config_of(
        {
            "level": {"type": "string", "enum": [level.value for level in LogLevel], "default": "info"},
            "message": {},
        },
        "message",
    )
    output_schema: ClassVar[dict[str, Any]] = {"type": "null"}

    async def run(self, context: Context) -> Output:
        message = context.config["message"]
        text = message if isinstance(message, str) else msgspec.json.encode(message).decode()
        return Output(None, (LogLine(LogLevel(context.config.get("level", "info")), text[:65_536]),))
