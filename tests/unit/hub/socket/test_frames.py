from __future__ import annotations

import pytest
from websockets.frames import Frame, Opcode
from websockets.streams import StreamReader

from hub.socket.frames import PING, text_frame


def parsed(data: bytes) -> Frame:
    """By another's parser; nothing may be left."""
    reader = StreamReader()
    reader.feed_data(data)
    parser = Frame.parse(reader.read_exact, mask=False)
    with pytest.raises(StopIteration) as end:
        next(parser)
    assert not reader.buffer
    frame: Frame = end.value.value
    return frame


@pytest.mark.parametrize(
    ("size", "head"), [(0, 2), (1, 2), (125, 2), (126, 4), (127, 4), (65_535, 4), (65_536, 10), (1_000_000, 10)]
)
def test_a_frame_of_any_size_is_one_whole_text_with_the_shortest_head(size: int, head: int) -> None:
    payload = b"x" * size
    made = text_frame(payload)
    assert len(made) == head + size
    frame = parsed(made)
    assert (frame.opcode, frame.fin, bytes(frame.data)) == (Opcode.TEXT, True, payload)
    assert (frame.rsv1, frame.rsv2, frame.rsv3) == (False, False, False)


def test_a_ping_is_an_empty_control_frame() -> None:
    frame = parsed(PING)
    assert (frame.opcode, frame.fin, bytes(frame.data)) == (Opcode.PING, True, b"")
