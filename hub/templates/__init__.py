"""The templates that are shipped: the JSON files beside this one, the same for every organization."""

from __future__ import annotations

from collections.abc import Mapping
from functools import cache
from pathlib import Path

import msgspec
from msgspec import Struct

from executor.domain.events.template import Template
from executor.domain.values import Instant


class Shipped(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A file. The id is fixed for ever: clients keep it."""

    id: str
    created_at: Instant
    template: Template


@cache
def shipped() -> Mapping[str, Shipped]:
    """By id."""
    files = sorted(Path(__file__).parent.glob("*.json"))
    found = [msgspec.json.decode(file.read_bytes(), type=Shipped) for file in files]
    return {each.id: each for each in found}
