from __future__ import annotations

import msgspec
import pytest

from executor.domain.definition import Parameter
from executor.domain.secrets import REDACTED, redact, redact_json, sealed_texts
from executor.secrets import PARAMETER_CONTEXT, open_config, seal_parameters
from tests.given import ORGANIZATION

SEALED = "sealed:v1:QUJD-_="


class Plain:
    """Seals by writing backwards; remembers for what."""

    def __init__(self) -> None:
        self.asked: list[tuple[str, str]] = []

    async def seal(self, organization_id: str, plaintext: str, context: str) -> str:
        self.asked.append((organization_id, context))
        return f"sealed:v1:{plaintext[::-1]}"

    async def open(self, organization_id: str, sealed: str, context: str) -> str:
        self.asked.append((organization_id, context))
        return sealed.removeprefix("sealed:v1:")[::-1]


def test_sealed_texts_are_found_wherever_they_stand() -> None:
    assert sealed_texts(f"Bearer {SEALED}, {SEALED}") == [SEALED, SEALED]
    assert sealed_texts("sealed: v1") == []


def test_redaction_hides_sealed_texts_in_values_and_in_keys() -> None:
    value = {"a": [SEALED, f"x {SEALED} y", 1, None], SEALED: ("b",)}
    assert redact(value) == {"a": [REDACTED, f"x {REDACTED} y", 1, None], REDACTED: ["b"]}


def test_redaction_hides_opened_secrets_too() -> None:
    assert redact({"echo": "you said hunter2!"}, {"hunter2"}) == {"echo": f"you said {REDACTED}!"}


def test_an_empty_secret_hides_nothing() -> None:
    assert redact("abc", {""}) == "abc"


def test_redacted_json_is_the_same_bytes_where_there_is_nothing_to_hide() -> None:
    plain = b'{"a": 1}'
    assert redact_json(plain) is plain
    assert msgspec.json.decode(redact_json(msgspec.json.encode({"a": f"x {SEALED}\n"}))) == {"a": f"x {REDACTED}\n"}


async def test_declared_secrets_are_sealed_for_their_place_and_others_are_left() -> None:
    opener = Plain()
    declared = (Parameter(name="token", secret=True), Parameter(name="none", secret=True), Parameter(name="x"))
    given = {"token": "abc", "none": None, "x": "abc", "undeclared": "abc"}
    sealed = await seal_parameters(opener, ORGANIZATION, declared, given)
    assert sealed == given | {"token": "sealed:v1:cba"}
    assert opener.asked == [(ORGANIZATION, PARAMETER_CONTEXT)]
    assert given["token"] == "abc"


async def test_a_config_is_opened_everywhere_and_what_was_opened_is_remembered() -> None:
    opened: set[str] = set()
    config = {"headers": {"A": "Bearer sealed:v1:cba"}, "body": ["sealed:v1:zyx", 1], "url": "u"}
    assert await open_config(Plain(), ORGANIZATION, config, opened) == {
        "headers": {"A": "Bearer abc"},
        "body": ["xyz", 1],
        "url": "u",
    }
    assert opened == {"abc", "xyz"}


@pytest.mark.parametrize("value", [None, 1, True, 2.5])
def test_what_is_no_text_is_left(value: object) -> None:
    assert redact(value, {"1"}) == value
