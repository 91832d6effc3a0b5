"""In which order what is due is taken: no endpoint waits for another, and no delivery for ever. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from itertools import islice
from typing import Any, Final, NamedTuple

NEW: Final = 1
AGAIN: Final = 2
REPLAYED: Final = 3


class Found(NamedTuple):
    """One that is due: `since` when, and whether it is never tried (`NEW`), tried `AGAIN`, or `REPLAYED`."""

    kind: int
    id: str
    since: str
    position: int | None


def of_endpoint(rows: Iterable[Sequence[Any]], room: int) -> list[Found]:
    """What is never tried, in the log's order, and what is tried again: whichever has waited longer, so that neither
    a flood of new ones keeps a retry from its turn nor the other way about. In room that is left, what is replayed.
    Each kind comes in its order."""
    found = [Found(*row) for row in rows]
    new, again, replayed = ([one for one in found if one.kind == kind] for kind in (NEW, AGAIN, REPLAYED))
    live = list(islice(_merged(new, again), room))
    return (live + replayed)[:room]


def _merged(new: Sequence[Found], again: Sequence[Found]) -> Iterator[Found]:
    left, right = list(reversed(new)), list(reversed(again))
    while left or right:
        is_again = not left or (right and right[-1].since < left[-1].since)
        yield (right if is_again else left).pop()


def in_turn(of: dict[str, list[Found]], limit: int) -> list[tuple[str, str]]:
    """One of each endpoint, then a second of each: endpoints with the ids of their deliveries. Of one round, what has
    waited longest first."""
    rounds = [
        (number, one.since, one.position or 0, one.id, webhook_id)
        for webhook_id, found in of.items()
        for number, one in enumerate(found)
    ]
    return [(webhook_id, id) for *_, id, webhook_id in sorted(rounds)[:limit]]


def after(ids: Sequence[str], last: str) -> list[str]:
    """Sorted ids, beginning behind the `last` one that had its turn."""
    return [*(id for id in ids if id > last), *(id for id in ids if id <= last)]
