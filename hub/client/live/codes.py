"""What a client does after the close of a socket: the table of the contract."""

from __future__ import annotations

from enum import Enum
from typing import Final


class After(Enum):
    STOP = 1
    """To come back would be of no use."""
    SOON = 2
    LATER = 3
    RENEW = 4
    """With fresh credentials, soon; there is nothing to do without."""


ABNORMAL: Final = 1006
"""The connection ended without a close (RFC 6455, section 7.4.1)."""

_AFTER: Final = {
    1009: After.STOP,
    1013: After.LATER,
    4400: After.STOP,
    4401: After.STOP,
    4403: After.STOP,
    4411: After.RENEW,
    4413: After.LATER,
    4429: After.LATER,
}


def after(code: int) -> After:
    """1000, 1001, 1006, 1011, 1012, 4408, and what nobody knows: soon."""
    return _AFTER.get(code, After.SOON)
