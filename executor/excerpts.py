"""As much of what others say as helps to see why something failed.

It is cut after secrets were looked for in it: half of one would be found nowhere.
"""

from __future__ import annotations

from typing import Any, Final

import msgspec

LONGEST_LINE: Final = 65_536
LONGEST_MESSAGE: Final = 4000
_LONGEST_DETAIL: Final = 2000


def cut(text: str, most: int) -> str:
    return text if len(text) <= most else f"{text[:most]}…"


def shortened(details: Any) -> Any:
    """Details of a failure: each is as it was, or the beginning of its text."""
    return {name: _short(value) for name, value in details.items()} if isinstance(details, dict) else details


def _short(value: Any) -> Any:
    if isinstance(value, str):
        return value[:_LONGEST_DETAIL]
    if isinstance(value, dict | list):
        text = msgspec.json.encode(value, enc_hook=str).decode()
        return value if len(text) <= _LONGEST_DETAIL else text[:_LONGEST_DETAIL]
    return value
