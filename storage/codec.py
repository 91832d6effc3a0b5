"""Event to bytes and back, upcasters for older shapes of data, and the hash chain over the log. Pure.

The type's name is not in the data: it stands in the envelope, and the catalogue maps it to its Struct.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import lru_cache
from typing import Any, Final, NamedTuple

import msgspec

from executor.domain.events import CATALOGUE, Event
from executor.ports import Metadata, Recorded, Stored
from storage.errors import Broken, UnknownEvent

Upcaster = Callable[[dict[str, Any]], dict[str, Any]]
"""Data of one schema to data of the next. Pure; may change the dict it gets."""

Upcasters = Mapping[str, Sequence[Upcaster]]
"""By event type: the n-th (from 1) brings schema n to n + 1, so their count + 1 is the newest schema."""

UPCASTERS: Final[Upcasters] = {}


class Codec:
    """Encodes and decodes the events of a catalogue. Refuses what it does not know."""

    def __init__(self, catalogue: Mapping[str, type[Event]] = CATALOGUE, upcasters: Upcasters = UPCASTERS) -> None:
        self._catalogue = catalogue
        self._upcasters = upcasters
        self._decoders = {name: msgspec.json.Decoder(cls) for name, cls in catalogue.items()}
        self._newest = {name: len(steps) + 1 for name, steps in upcasters.items()}
        self._encode = msgspec.json.Encoder().encode

    def schema(self, type: str) -> int:
        """The newest schema of a type's data."""
        return self._newest.get(type, 1)

    def encode(self, event: Event) -> bytes:
        if self._catalogue.get(event.type) is not type(event):
            raise UnknownEvent(f"{type(event).__name__} is not the catalogue's {event.type!r}")
        return self._encode(event)

    def decode(self, type: str, schema: int, data: bytes) -> Event:
        decoder = self._decoders.get(type)
        if decoder is None:
            raise UnknownEvent(f"the catalogue has no event {type!r}")
        newest = self.schema(type)
        if schema > newest:
            raise UnknownEvent(f"{type!r} has schema {schema}, written by a newer version; known is {newest}")
        try:
            if schema == newest:
                return decoder.decode(data)
            value = msgspec.json.decode(data)
            for upcast in self._upcasters[type][schema - 1 :]:
                value = upcast(value)
            return msgspec.convert(value, self._catalogue[type])
        except msgspec.DecodeError as error:
            raise UnknownEvent(f"the data of {type!r}, schema {schema}, cannot be read: {error}") from error


CODEC: Final = Codec()

_sorted = msgspec.json.Encoder(order="sorted").encode
_encode = msgspec.json.Encoder().encode
_metadata = msgspec.json.Decoder(Metadata).decode


@lru_cache(maxsize=1024)
def encode_metadata(metadata: Metadata) -> bytes:
    """Canonical: what is null is absent and keys are sorted, so that a later field changes no earlier bytes.

    Kept for the last callers, most of whom append more than once.
    """
    fields = msgspec.structs.asdict(metadata)
    return _sorted({name: value for name, value in fields.items() if value is not None})


def decode_metadata(data: bytes) -> Metadata:
    return _metadata(data)


class Link(NamedTuple):
    """The end of a chain: what the next event is chained to."""

    position: int
    time: str
    hash: bytes


GENESIS: Final = Link(0, "", bytes(32))


def digest(data: bytes) -> bytes:
    return hashlib.sha256(data).digest()


class Envelope(NamedTuple):
    """All of a recorded event but its data and hash; `metadata` is its encoding."""

    position: int
    id: str
    type: str
    schema: int
    time: str
    organization_id: str
    workflow_id: str | None
    execution_id: str | None
    stream: str
    version: int
    metadata: msgspec.Raw

    def encode(self) -> bytes:
        """The one canonical form, which is hashed."""
        return _encode(self)


def envelope(recorded: Recorded | Stored) -> Envelope:
    metadata = recorded.metadata
    return Envelope(
        recorded.position,
        recorded.id,
        recorded.type,
        recorded.schema,
        recorded.time,
        recorded.organization_id,
        recorded.workflow_id,
        recorded.execution_id,
        recorded.stream,
        recorded.version,
        msgspec.Raw(encode_metadata(metadata) if isinstance(metadata, Metadata) else metadata),
    )


def chain(previous: bytes, envelope: bytes, digest: bytes) -> bytes:
    """SHA-256(previous hash ‖ envelope bytes ‖ SHA-256(data bytes))."""
    return hashlib.sha256(previous + envelope + digest).digest()


class Prover:
    """Walks along a log's chain: `link` is how far the walk has come, `bytes` how many of the log it has hashed."""

    def __init__(self, after: Link = GENESIS) -> None:
        self.link = after
        self.bytes = 0

    def extend(self, stored: Iterable[tuple[Any, ...]]) -> None:
        """Goes on over events that follow `link`, each with the columns of `Stored`. Raises `Broken` at the first
        that is wrong; `link` is then at the one before it. Data that was archived is blank; its digest stands for it.

        One loop over plain tuples: a function or an object for each event would cost as much as its hashes.
        """
        position, time, hash = self.link
        size, sha256 = 0, hashlib.sha256
        try:
            for at, id, type, schema, when, org, stream, version, flow, run, data, metadata, digest, own in stored:
                if at != position + 1:
                    raise Broken(position + 1, f"missing: the next event stands at {at}")
                if when < time:
                    raise Broken(at, f"its time {when} is before {time}, the time of the event before it")
                if data and sha256(data).digest() != digest:
                    raise Broken(at, "its data is not what its digest was made of")
                envelope = _encode(
                    (at, id, type, schema, when, org, flow, run, stream, version, msgspec.Raw(metadata))
                )
                if sha256(hash + envelope + digest).digest() != own:
                    raise Broken(at, "its hash does not follow from its content and the hash before it")
                position, time, hash = at, when, own
                size += len(data) + len(envelope) + _HASHES
        finally:
            self.link = Link(position, time, hash)
            self.bytes += size


_HASHES: Final = 64
"""The bytes of an event's digest and hash."""


def stored(recorded: Recorded) -> Stored:
    """An event as its table holds it; of one whose data is there."""
    return Stored(
        recorded.position,
        recorded.id,
        recorded.type,
        recorded.schema,
        recorded.time,
        recorded.organization_id,
        recorded.stream,
        recorded.version,
        recorded.workflow_id,
        recorded.execution_id,
        recorded.data,
        encode_metadata(recorded.metadata),
        digest(recorded.data),
        recorded.hash,
    )


def verify(events: Iterable[Recorded | Stored], after: Link = GENESIS) -> Link:
    """The end of the chain after these events, which follow `after`. Raises `Broken` at the first that is wrong.

    Data that was archived is blank; its stored digest stands for it.
    """
    prover = Prover(after)
    prover.extend(event if isinstance(event, Stored) else stored(event) for event in events)
    return prover.link
