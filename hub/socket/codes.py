"""Why a connection ends, as clients see it."""

from __future__ import annotations

from enum import IntEnum
from typing import Final


class CloseCode(IntEnum):
    """RFC 6455, section 7.4, and ours. `closing` goes before those after which a client that was welcomed is to come
    back; a refusal at the door, and what is the client's own fault, is the close alone."""

    GOING_AWAY = 1001
    TOO_BIG = 1009
    INTERNAL = 1011
    RESTART = 1012
    TRY_LATER = 1013
    MALFORMED = 4400
    UNAUTHENTICATED = 4401
    FORBIDDEN = 4403
    AUTH_TIMEOUT = 4408
    EXPIRED = 4411
    TOO_FAR_BEHIND = 4413
    TOO_MANY = 4429


RECONNECT: Final = frozenset(
    {
        CloseCode.GOING_AWAY,
        CloseCode.INTERNAL,
        CloseCode.RESTART,
        CloseCode.TRY_LATER,
        CloseCode.TOO_FAR_BEHIND,
        CloseCode.TOO_MANY,
    }
)
