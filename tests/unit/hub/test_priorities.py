from __future__ import annotations

import msgspec
import pytest

from hub.priorities import PriorityValue, priority_of


@pytest.mark.parametrize(
    ("text", "priority"), [("1", 1), ("10", 10), ("low", 3), ("normal", 5), ("high", 8), ("urgent", 10)]
)
def test_numbers_and_words_also_as_texts_of_a_query(text: str, priority: int) -> None:
    assert priority_of(msgspec.convert(text, PriorityValue, strict=False)) == priority


@pytest.mark.parametrize("text", ["0", "11", "HIGH", "", "5.5", "true"])
def test_anything_else_is_refused(text: str) -> None:
    with pytest.raises(msgspec.ValidationError):
        msgspec.convert(text, PriorityValue, strict=False)
