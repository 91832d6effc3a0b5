"""How an export may look. By itself, so that the command can name them without what exporting needs."""

from __future__ import annotations

from enum import StrEnum


class Form(StrEnum):
    NDJSON = "ndjson"
    CLOUDEVENTS = "cloudevents"


class Compression(StrEnum):
    GZIP = "gzip"
    NONE = "none"
