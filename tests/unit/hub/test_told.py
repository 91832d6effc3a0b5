"""What `events verify` prints of a proof."""

from __future__ import annotations

import pytest

from hub.proof import Proof, told


@pytest.mark.parametrize(("bytes", "shown"), [(999_999, False), (12_000_000, True)])
def test_a_speed_is_told_only_where_it_says_anything(bytes: int, shown: bool) -> None:
    proof = Proof(first=1, last=4, given=4, position=4, hash=b"\0" * 32, bytes=bytes, seconds=0.5, flaw=None)
    assert told(proof).startswith("4 events are whole; the head is 4, hash 0000")
    assert ("\n12.0 MB in 0.50 s: 24 MB/s" in told(proof)) is shown
