from __future__ import annotations

from enum import StrEnum
from typing import ClassVar

import pytest

from executor.domain.values import Instant
from executor.ports import Row
from storage.rows import build, shape


class Colour(StrEnum):
    RED = "red"


class Thing(Row, frozen=True, kw_only=True):
    table: ClassVar[str] = "things"
    key: ClassVar[tuple[str, ...]] = ("part", "id")
    id: str
    part: int
    organization_id: str
    created_at: Instant
    active: bool
    checked: bool | None
    colour: Colour
    document: bytes


def test_a_shape_is_read_off_the_struct() -> None:
    of = shape(Thing)
    assert (of.table, of.key) == ("things", ("part", "id"))
    assert of.columns == ("id", "part", "organization_id", "created_at", "active", "checked", "colour", "document")
    assert of.changing == ("active", "checked", "colour", "document")
    assert of.nullable == {"checked"}


def test_values_of_a_database_become_those_of_the_fields() -> None:
    thing = build(Thing, ("a", 1, "O", "now", 1, None, "red", b"{}"))
    assert thing.active is True
    assert thing.checked is None
    assert thing.colour is Colour.RED
    assert build(Thing, ("a", 1, "O", "now", 0, 0, "red", b"{}")).checked is False


def test_only_columns_pass() -> None:
    assert shape(Thing).check("id") == "id"
    with pytest.raises(ValueError, match="things has no column 'ID'"):
        shape(Thing).check("ID")
