from __future__ import annotations

from typing import Any

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from executor.domain.execution.shards import Shards

KEYS = st.integers(0, 400).map(str)
MOST_COPIES = 6


class Copies(RuleBasedStateMachine):
    """Some mappings, copies of each other, each beside the dict that it must be like: what is written to one of them
    is seen in no other."""

    def __init__(self) -> None:
        super().__init__()
        self.pairs: list[tuple[Shards[Any], dict[str, Any]]] = []

    @initialize()
    def begin(self) -> None:
        self.pairs = [(Shards(), {})]

    def chosen(self, number: int) -> tuple[Shards[Any], dict[str, Any]]:
        return self.pairs[number % len(self.pairs)]

    @rule(of=st.integers(0, MOST_COPIES), key=KEYS, value=st.integers())
    def put(self, of: int, key: str, value: int) -> None:
        for each in self.chosen(of):
            each[key] = value

    @rule(of=st.integers(0, MOST_COPIES), keys=st.tuples(st.integers(0, 300), st.integers(1, 200)))
    def put_many(self, of: int, keys: tuple[int, int]) -> None:
        """So many that they are spread anew."""
        for number in range(keys[0], sum(keys)):
            for each in self.chosen(of):
                each[str(number)] = number

    @rule(of=st.integers(0, MOST_COPIES), key=KEYS)
    def take(self, of: int, key: str) -> None:
        left, right = (each.pop(key, None) for each in self.chosen(of))
        assert left == right

    @precondition(lambda self: len(self.pairs) < MOST_COPIES)
    @rule(of=st.integers(0, MOST_COPIES))
    def copy(self, of: int) -> None:
        shards, known = self.chosen(of)
        self.pairs.append((shards.copy(), known.copy()))

    @precondition(lambda self: len(self.pairs) > 1)
    @rule(of=st.integers(0, MOST_COPIES))
    def forget(self, of: int) -> None:
        del self.pairs[of % len(self.pairs)]

    @invariant()
    def is_as_a_dict_would_be(self) -> None:
        for shards, known in self.pairs:
            assert dict(shards) == known
            assert (len(shards), bool(shards)) == (len(known), bool(known))
            assert shards == known
            assert all(key in shards for key in known)
            assert "none" not in shards


Copies.TestCase.settings = settings(max_examples=40, stateful_step_count=30, deadline=None)
TestCopies = Copies.TestCase
