"""A run's fold as bytes and back again, in every kind of state."""

from __future__ import annotations

import pytest

from executor.domain.execution.inputs import Looped
from executor.domain.execution.kept import Fold, pack, unpack
from executor.domain.execution.state import State
from tests.unit.executor.play import Play, flow, looping


def plays() -> dict[str, Play]:
    """One in each state that there is."""
    made = {name: Play(flow("start > a > c", "start > b > c")) for name in ("queued", "running", "paused", "waiting")}
    made["running"].claim().complete("start", output={"x": [1, None]})
    made["paused"].claim().complete("start").pause()
    made["waiting"].claim().complete("start").suspend("a", 60, "go").signal("other", {"x": 1}).signal("other", 2)
    made["ended"] = Play(flow("start")).claim().complete("start", output={"x": 1})
    made["failed"] = Play(flow("start > a")).claim().complete("start").fail("a")
    made["retried"] = Play(flow("start > a")).claim().complete("start").fail("a").retry()
    made["cancelled"] = Play(flow("start > a")).claim().complete("start").cancel()
    made["looping"] = Play(looping("each", items=[{"n": 1}, 2, 3], max_concurrency=2)).claim().complete("start")
    made["looping"].take(Looped("each", 1, 3, 2)).complete("work@1", output={"y": 1})
    made["asking"] = Play(looping("each", items=None, **{"while": "true"})).claim().complete("start")
    made["asking"].take(Looped("each", 1, None, 1)).complete("work@0", output=1)
    return made


PLAYS = plays()


def test_everything_in_a_state_is_kept() -> None:
    assert set(Fold.__struct_fields__) == set(State.__slots__) - {"graph", "touched"} | {"definition"}


@pytest.mark.parametrize("name", PLAYS)
def test_a_fold_comes_back_as_it_was(name: str) -> None:
    state = PLAYS[name].state
    again = unpack(pack(state))
    assert again == state
    assert pack(again) == pack(state)


@pytest.mark.parametrize("name", ["running", "waiting", "looping", "retried"])
def test_a_run_goes_on_from_what_was_kept(name: str) -> None:
    play = PLAYS[name]
    play.state = unpack(pack(play.state))
    play.claim("engine-9")
    assert play.state.epoch > 0
    play.cancel()
    assert play.status == "cancelled"
