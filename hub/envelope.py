"""The envelope that every answer of the REST API comes in."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import msgspec
from msgspec import UNSET, Struct, UnsetType

from executor.domain.errors import Problem
from executor.domain.values import Instant
from hub.settings import VERSION


class ResponseMetadata(Struct, kw_only=True):
    """Of every answer; the fields from `total_count` on are there for lists."""

    timestamp: Instant
    request_id: str
    version: str = VERSION
    total_count: int | UnsetType | None = UNSET
    limit: int | UnsetType = UNSET
    offset: int | UnsetType = UNSET
    has_more: bool | UnsetType = UNSET
    next_cursor: str | UnsetType | None = UNSET


class Envelope(Struct, kw_only=True):
    success: bool
    data: Any
    message: str
    errors: Sequence[Problem] = ()
    metadata: ResponseMetadata


class Page(Struct, frozen=True, kw_only=True):
    """What a list says of itself. `total_count` is None where counting would cost too much."""

    total_count: int | None
    limit: int
    offset: int
    has_more: bool
    next_cursor: str | None


class Answer(Struct, frozen=True):
    """What an operation answers: any JSON, `msgspec.Raw` for what is encoded already."""

    data: Any = None
    message: str = ""
    page: Page | None = None
    status: int | None = None


_encoder = msgspec.json.Encoder()


def succeeded(answer: Answer, now: Instant, request_id: str) -> bytes:
    metadata = ResponseMetadata(timestamp=now, request_id=request_id)
    if answer.page is not None:
        for name in answer.page.__struct_fields__:
            setattr(metadata, name, getattr(answer.page, name))
    return _encoder.encode(Envelope(success=True, data=answer.data, message=answer.message, metadata=metadata))


def failed(problems: Sequence[Problem], now: Instant, request_id: str, message: str = "", data: Any = None) -> bytes:
    metadata = ResponseMetadata(timestamp=now, request_id=request_id)
    text = message or problems[0].message
    return _encoder.encode(Envelope(success=False, data=data, message=text, errors=problems, metadata=metadata))
