from __future__ import annotations

from webhooks.doorbell import Doorbell


def test_a_ring_between_listening_and_waiting_is_not_missed() -> None:
    doorbell = Doorbell()
    bell = doorbell.listen(3)
    doorbell.ring(3)
    assert bell.is_set()


def test_a_ring_wakes_all_who_listen_and_nobody_who_comes_later_or_listens_elsewhere() -> None:
    doorbell = Doorbell()
    first, second, elsewhere = doorbell.listen(3), doorbell.listen(3), doorbell.listen(4)
    doorbell.ring(3)
    assert first.is_set()
    assert second.is_set()
    assert not doorbell.listen(3).is_set()
    assert not elsewhere.is_set()


def test_a_ring_is_forwarded_once_and_one_from_elsewhere_is_not() -> None:
    forwarded: list[int] = []
    doorbell = Doorbell(forwarded.append)
    rung, heard = doorbell.listen(3), doorbell.listen(4)
    doorbell.ring(3)
    doorbell.hear(4)
    assert rung.is_set()
    assert heard.is_set()
    assert forwarded == [3]
