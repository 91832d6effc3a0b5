"""How much each endpoint may have under way, and that those who hang hold nobody else up."""

from __future__ import annotations

from executor.ports import EndpointLimits
from webhooks.health import FAILURES, PAUSE_SECONDS, SLOW_SECONDS, STREAK_SECONDS, Census, Lanes


class Play:
    """Endpoints that are served as a pump serves them, by a clock of the test's own."""

    def __init__(self, **rooms: int) -> None:
        self.lanes = Lanes(**rooms)
        self.now = 100.0
        self._ids = 0

    def room(self, webhook: str, most: int = 10) -> int:
        limited = self.lanes.limits(lambda id: EndpointLimits(id, most, False), self.now)(webhook)
        return 0 if limited is None or limited.room is None else limited.room

    def begin(self, webhook: str, times: int = 1) -> list[str]:
        ids = [f"{webhook}-{self._ids + number}" for number in range(times)]
        self._ids += times
        for id in ids:
            self.lanes.began(webhook, id, self.now)
        return ids

    def end(self, webhook: str, ids: list[str], *, is_success: bool, after: float = 0.01) -> None:
        self.now += after
        for id in ids:
            self.lanes.ended(webhook, id, self.now, is_success=is_success)

    def one(self, webhook: str, *, is_success: bool, after: float = 0.01) -> None:
        self.end(webhook, self.begin(webhook), is_success=is_success, after=after)

    def break_(self, webhook: str) -> None:
        for _ in range(FAILURES):
            self.one(webhook, is_success=False, after=STREAK_SECONDS / (FAILURES - 1))


def test_who_is_new_may_have_all_that_it_asked_for() -> None:
    play = Play()
    assert play.room("a", 10) == 10
    play.begin("a", 4)
    assert (play.room("a", 10), play.room("a", 4), play.room("b", 3)) == (6, 0, 3)


def test_an_ordered_endpoint_has_one_under_way_whatever_became_of_that_in_the_ledger() -> None:
    play = Play()
    play.one("a", is_success=True)
    play.begin("a")
    assert play.lanes.limits(lambda id: EndpointLimits(id, 10, True), play.now)("a") is None


def test_failures_halve_the_window_and_successes_open_it() -> None:
    play = Play()
    play.end("a", play.begin("a", 8), is_success=False)
    assert play.room("a") == 1
    play.one("a", is_success=True)
    play.one("a", is_success=True)
    assert play.room("a") == 3
    for _ in range(20):
        play.one("a", is_success=True)
    assert play.room("a") == 10


def test_in_a_crowded_slow_lane_everybody_has_one_at_a_time() -> None:
    play = Play(fast_room=10, slow_room=100, crowd=20)
    play.one("good", is_success=True)
    begun = [len(play.begin(f"hang{number}", play.room(f"hang{number}"))) for number in range(200)]
    assert begun == [10] * 2 + [1] * 80 + [0] * 118, "those who came before there was a crowd, and the others"
    assert play.room("hang199") == 0
    assert play.room("newcomer") == 0, "the slow lane is full"
    assert play.room("good") == 10, "and the fast one is not"
    assert play.lanes.room(play.now) == 10


def test_a_fast_endpoint_that_hangs_leaves_the_fast_lane() -> None:
    play = Play(fast_room=10, slow_room=100)
    for webhook in "ab":
        play.one(webhook, is_success=True)
    play.begin("a", play.room("a"))
    assert play.room("b") == 0, "the fast lane is full"
    play.now += SLOW_SECONDS
    assert play.room("b") == 10
    assert play.room("a") == 0
    assert play.lanes.room(play.now) == 10 + 90


def test_a_slow_success_is_not_fast() -> None:
    play = Play(fast_room=10, slow_room=100)
    play.one("a", is_success=True, after=SLOW_SECONDS)
    assert not play.lanes._of["a"].is_fast(play.now)
    play.one("a", is_success=True)
    assert play.lanes._of["a"].is_fast(play.now)


def test_a_breaker_opens_probes_and_closes() -> None:
    play = Play()
    play.break_("a")
    assert play.room("a") == 0
    assert play.lanes.census(play.now) == Census(closed=0, half_open=0, open=1)
    play.now += PAUSE_SECONDS[0]
    assert play.room("a") == 1
    probe = play.begin("a")
    assert play.room("a") == 0, "one probe"
    assert play.lanes.census(play.now) == Census(closed=0, half_open=1, open=0)
    play.end("a", probe, is_success=False)
    play.now += PAUSE_SECONDS[0]
    assert play.room("a") == 0, "twice as long"
    play.now += PAUSE_SECONDS[0]
    play.one("a", is_success=True)
    assert play.room("a") > 0
    assert play.lanes.census(play.now) == Census(closed=1, half_open=0, open=0)


def test_a_pause_grows_up_to_a_minute() -> None:
    play = Play()
    play.break_("a")
    for _ in range(10):
        play.now += PAUSE_SECONDS[1]
        assert play.room("a") == 1
        play.one("a", is_success=False)
    play.now += PAUSE_SECONDS[1] - 1
    assert play.room("a") == 0
    play.now += 1
    assert play.room("a") == 1


def test_a_burst_of_failures_opens_nothing() -> None:
    """Retries of a short policy are not held up by one moment of the receiver's."""
    play = Play()
    for _ in range(100):
        play.one("a", is_success=False, after=STREAK_SECONDS / 200)
    assert play.room("a") == 1


def test_who_asks_to_be_left_alone_is_but_not_for_ever() -> None:
    play = Play()
    play.one("a", is_success=True)
    play.lanes.hold("a", 30, play.now)
    play.now += 29
    assert play.room("a") == 0
    play.now += 1
    assert play.room("a") > 0
    play.lanes.hold("a", 1e9, play.now)
    play.now += 301
    assert play.room("a") > 0


def test_a_changed_endpoint_is_met_without_prejudice() -> None:
    play = Play()
    play.break_("a")
    (hanging,) = play.begin("a")
    play.lanes.forget("a")
    assert play.room("a") == 9
    play.lanes.withdrawn("a", hanging)
    assert play.room("a") == 10
    play.lanes.forget("unknown")
    play.lanes.withdrawn("unknown", "x")
