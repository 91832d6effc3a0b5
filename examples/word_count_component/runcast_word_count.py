"""The component type `word_count`."""

from __future__ import annotations

import re
from collections import Counter
from typing import Any, ClassVar

from executor.components.base import Component, ComponentError, Context, Output, config_of

MOST_CHARACTERS = 500_000
"""While one component counts, no other goes on: what takes longer than some milliseconds belongs into a process."""


class WordCount(Component):
    type = "word_count"
    name = "Word count"
    description = "Counts the words of `text`, and says which are the `top` most frequent."
    category = "text"
    config_schema = config_of(
        {
            "text": {"type": "string"},
            "top": {"type": "integer", "minimum": 1, "maximum": 100, "default": 3},
        },
        "text",
    )
    output_schema: ClassVar[dict[str, Any]] = {
        "type": "object",
        "properties": {"words": {"type": "integer"}, "top": {"type": "array"}},
        "required": ["words", "top"],
    }

    async def run(self, context: Context) -> Output:
        text = context.config["text"]
        if len(text) > MOST_CHARACTERS:
            raise ComponentError(f"the text has {len(text)} characters, more than {MOST_CHARACTERS}")
        times = Counter(re.findall(r"\w+", text.lower()))
        most = times.most_common(context.config.get("top", 3))
        top = [{"word": word, "times": count} for word, count in most]
        return Output({"words": times.total(), "top": top})
