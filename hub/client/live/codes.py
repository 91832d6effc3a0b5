"""How a socket ended, and what a client does then: the table of the contract."""

from __future__ import annotations

from enum import Enum
from typing import Final, NamedTuple

from websockets.exceptions import ConnectionClosed

from hub.client.live.protocol import Closing


class After(Enum):
    STOP = 1
    """To come back would be of no use."""
    SOON = 2
    LATER = 3
    RENEW = 4
    """With fresh credentials, soon; there is nothing to do without."""


ABNORMAL: Final = 1006
"""The connection ended without a close (RFC 6455, section 7.4.1)."""
TOO_MANY: Final = 4429

_AFTER: Final = {
    1009: After.STOP,
    1013: After.LATER,
    4400: After.STOP,
    4401: After.STOP,
    4403: After.STOP,
    4411: After.RENEW,
    4413: After.LATER,
    TOO_MANY: After.LATER,
}


def after(code: int) -> After:
    """1000, 1001, 1006, 1011, 1012, 4408, and what nobody knows: soon."""
    return _AFTER.get(code, After.SOON)


class End(NamedTuple):
    """How a connection ended: its close code, and what the hub said before."""

    code: int
    reason: str
    closing: Closing | None = None


def end_of(closed: ConnectionClosed, closing: Closing | None) -> End:
    """By what the hub said last; what this side said counts where the hub said nothing."""
    if closed.rcvd is not None:
        return End(closed.rcvd.code, closed.rcvd.reason or "closed", closing)
    if closing is not None:
        return End(closing.code, closing.reason, closing)
    return End(ABNORMAL, "it broke") if closed.sent is None else End(closed.sent.code, closed.sent.reason)
