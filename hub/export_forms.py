"""The two forms in which an event leaves a hub and comes back, one line each: our own, and CloudEvents 1.0.

Both hold all that the chain of hashes is made of, the data byte for byte as it is stored. The first line of an
organization brings the organization, whose data key is sealed by the SECRET_KEY of the hub it comes from.
"""

from __future__ import annotations

import json
from typing import Final, Literal, NamedTuple

import msgspec
from msgspec import UNSET, Raw, Struct, UnsetType

from executor.domain.values import Instant
from executor.ports import Metadata, Organization, Stored
from hub.export_options import Form
from storage.codec import decode_metadata, digest, encode_metadata

_encode = msgspec.json.Encoder().encode
_LARGEST_INTEGER: Final = 2**31 - 1
_NULL: Final = b"null"


class Line(NamedTuple):
    """What a line says: an event, and of the first of an organization, the organization."""

    event: Stored
    organization: Organization | None


class ExportedEvent(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A line of our own form: the event as the API shows it, `schema`, and what else an import needs. Where the data
    was archived, it is null, and `digest` stands for it."""

    position: int
    id: str
    type: str
    schema: int
    time: Instant
    organization_id: str
    stream: str
    version: int
    workflow_id: str | None
    execution_id: str | None
    data: Raw
    metadata: Metadata
    hash: str
    digest: str | UnsetType = UNSET
    organization: Organization | UnsetType = UNSET


class CloudEvent(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A line of CloudEvents 1.0, JSON format. What is null is absent, as the specification has it.

    Its integers end at 2,147,483,647; a position beyond is a string. `organization` is the JSON of one, as a string.
    """

    specversion: Literal["1.0"] = "1.0"
    id: str
    source: str
    type: str
    subject: str
    time: Instant
    datacontenttype: Literal["application/json"] = "application/json"
    position: int | str
    stream: str
    version: int
    schema: int
    organizationid: str
    workflowid: str | UnsetType = UNSET
    executionid: str | UnsetType = UNSET
    actor: str
    requestid: str | UnsetType = UNSET
    correlationid: str | UnsetType = UNSET
    causationid: str | UnsetType = UNSET
    hash: str
    digest: str | UnsetType = UNSET
    organization: str | UnsetType = UNSET
    data: Raw | UnsetType = UNSET


def exported(event: Stored, organization: Organization | None = None) -> bytes:
    """A line of our own form, without its end."""
    return _encode(
        ExportedEvent(
            position=event.position,
            id=event.id,
            type=event.type,
            schema=event.schema,
            time=event.time,
            organization_id=event.organization_id,
            stream=event.stream,
            version=event.version,
            workflow_id=event.workflow_id,
            execution_id=event.execution_id,
            data=Raw(event.data or _NULL),
            metadata=decode_metadata(event.metadata),
            hash=event.hash.hex(),
            digest=UNSET if event.data else event.digest.hex(),
            organization=organization or UNSET,
        )
    )


def cloud_event(event: Stored, epoch: str, organization: Organization | None = None) -> bytes:
    """A line of CloudEvents, without its end."""
    metadata = decode_metadata(event.metadata)
    return _encode(
        CloudEvent(
            id=event.id,
            source=f"/runcast/{epoch}",
            type=event.type,
            subject=event.stream,
            time=event.time,
            position=event.position if event.position <= _LARGEST_INTEGER else str(event.position),
            stream=event.stream,
            version=event.version,
            schema=event.schema,
            organizationid=event.organization_id,
            workflowid=event.workflow_id or UNSET,
            executionid=event.execution_id or UNSET,
            actor=metadata.actor,
            requestid=metadata.request_id or UNSET,
            correlationid=metadata.correlation_id or UNSET,
            causationid=metadata.causation_id or UNSET,
            hash=event.hash.hex(),
            digest=UNSET if event.data else event.digest.hex(),
            organization=UNSET if organization is None else _as_text(organization),
            data=Raw(event.data) if event.data else UNSET,
        )
    )


_ndjson = msgspec.json.Decoder(ExportedEvent)
_cloudevents = msgspec.json.Decoder(CloudEvent)
_organization = msgspec.json.Decoder(Organization)


def form_of(line: bytes) -> Form:
    """Which form a file's first line has."""
    return Form.CLOUDEVENTS if b'"specversion"' in line[:64] else Form.NDJSON


def read(form: Form, line: bytes) -> Line:
    """Raises `ValueError` (`msgspec.DecodeError` is one) with what is wrong."""
    return _read_exported(_ndjson.decode(line)) if form is Form.NDJSON else _read_cloud_event(line)


def _read_exported(found: ExportedEvent) -> Line:
    data = b"" if bytes(found.data) == _NULL else bytes(found.data)
    event = Stored(
        found.position,
        found.id,
        found.type,
        found.schema,
        found.time,
        found.organization_id,
        found.stream,
        found.version,
        found.workflow_id,
        found.execution_id,
        data,
        encode_metadata(found.metadata),
        _digest(data, found.digest),
        bytes.fromhex(found.hash),
    )
    return Line(event, found.organization or None)


def _read_cloud_event(line: bytes) -> Line:
    found = _cloudevents.decode(line)
    data = bytes(found.data) if found.data is not UNSET else b""
    metadata = Metadata(
        actor=found.actor,
        request_id=found.requestid or None,
        correlation_id=found.correlationid or None,
        causation_id=found.causationid or None,
    )
    event = Stored(
        int(found.position),
        found.id,
        found.type,
        found.schema,
        found.time,
        found.organizationid,
        found.stream,
        found.version,
        found.workflowid or None,
        found.executionid or None,
        data,
        encode_metadata(metadata),
        _digest(data, found.digest),
        bytes.fromhex(found.hash),
    )
    return Line(event, _organization.decode(found.organization) if found.organization else None)


def _digest(data: bytes, given: str | UnsetType) -> bytes:
    if data:
        return digest(data)
    if given is UNSET:
        raise ValueError("it has neither data nor a digest")
    return bytes.fromhex(given)


def _as_text(organization: Organization) -> str:
    """JSON without the characters that a string of CloudEvents must not have."""
    fields = msgspec.structs.asdict(organization)
    return json.dumps(fields).replace("\x7f", "\\u007f")
