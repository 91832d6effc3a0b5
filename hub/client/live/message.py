"""What a channel brings, and what is wanted of one."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final

from msgspec import Struct

from hub.client.errors import Misused

GAP: Final = "gap"
REPLAY_COMPLETED: Final = "replay_completed"
ANY: Final = "*"


class Message(Struct, frozen=True, kw_only=True):
    """One message of a channel. `position` is where to resume after it; null for `replay_completed` alone.

    `gap` is the one type that the client says itself: what follows does not join what came before. Its `position` is
    where it goes on, its data `reason` (`another_log`, or `archived`), `since` and `epoch` (of the log from here on).
    Fetch the state anew.
    """

    type: str
    id: str = ""
    timestamp: str = ""
    channel: str | None = None
    position: int | None = None
    replay: str | None = None
    data: dict[str, Any] = {}

    @property
    def is_gap(self) -> bool:
        return self.type == GAP


class Wish(Struct, frozen=True, kw_only=True):
    """A channel, and what of it. `keys` are what the hub is told beside the channel's kind: an id, or an assignee."""

    kind: str
    keys: dict[str, str]
    types: tuple[str, ...] = ()
    filter: str | None = None
    mode: str | None = None

    @property
    def name(self) -> str:
        """As the hub names it: `events`, `execution:ID`, `workflow:*`, `task:assignee:NAME`."""
        if not self.keys:
            return self.kind
        ((key, id),) = self.keys.items()
        return f"{self.kind}:assignee:{id}" if key == "assignee" else f"{self.kind}:{id}"

    @property
    def is_broad(self) -> bool:
        """Its messages name channels of single things, not this one."""
        return ANY in self.keys.values() or "assignee" in self.keys

    def overlaps(self, other: Wish) -> bool:
        """Of the two on one socket one could not tell whose a message is."""
        if self.kind != other.kind:
            return False
        return self.name == other.name or self.is_broad or other.is_broad


Types = str | Sequence[str] | None
"""Patterns of types of events, as a list or with commas."""


def wish_of(kind: str, ids: Mapping[str, str | None], types: Types, filter: str | None, mode: str | None) -> Wish:
    """`ids` by the names of the hub's keys. Raises `Misused` for more than one: a channel has one key."""
    keys = {name: id for name, id in ids.items() if id is not None}
    if len(keys) > 1:
        raise Misused(f"a channel has one key; leave out all but one of {', '.join(keys)}")
    patterns = tuple(part.strip() for part in types.split(",")) if isinstance(types, str) else tuple(types or ())
    return Wish(kind=kind, keys=keys, types=patterns, filter=filter, mode=mode)
