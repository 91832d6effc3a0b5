from __future__ import annotations

import base64
import json
import re
from typing import Any
from urllib.parse import quote, quote_plus

import msgspec
import pytest
from yarl import URL

from executor.domain.definition import Parameter
from executor.domain.secrets import REDACTED, redact, redact_json, sealed_texts
from executor.secrets import PARAMETER_CONTEXT, forms_of, open_config, seal_credentials, seal_parameters
from tests.given import ORGANIZATION

SEALED = "sealed:v1:QUJD-_="
TYPES = {"http_request", "navigation"}
SPECIAL = 'p@ss/w "örd"&é+1'


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
    assert {"abc", "xyz"} <= opened
    assert redact("abc and xyz and 1", opened) == f"{REDACTED} and {REDACTED} and 1"


@pytest.mark.parametrize("value", [None, 1, True, 2.5])
def test_what_is_no_text_is_left(value: object) -> None:
    assert redact(value, {"1"}) == value


def test_a_number_that_is_a_secret_is_hidden_and_a_secret_that_begins_with_another() -> None:
    assert redact([48213, 4821, 1.5, True], {"48213"}) == [REDACTED, 4821, 1.5, True]
    assert redact("abcdef", {"abc", "abcdef"}) == REDACTED


@pytest.mark.parametrize(
    "echo",
    [
        quote(SPECIAL, safe=""),
        quote(SPECIAL),
        re.sub("%[0-9A-F]{2}", lambda match: match[0].lower(), quote(SPECIAL, safe="")),
        quote_plus(SPECIAL),
        str(URL("http://h").joinpath(SPECIAL))[len("http://h/") :],
        URL("http://h").with_query({"q": SPECIAL}).raw_query_string[2:],
        json.dumps(SPECIAL)[1:-1],
        json.dumps(SPECIAL, ensure_ascii=False)[1:-1],
        base64.b64encode(SPECIAL.encode()).decode(),
        SPECIAL,
    ],
)
def test_a_secret_is_found_as_others_write_it(echo: str) -> None:
    assert redact(f"<{echo}>", forms_of(f"Bearer {SPECIAL}")) == f"<{REDACTED}>"


def http(id: str, **config: Any) -> dict[str, Any]:
    return {"id": id, "type": "http_request", "config": {"url": "https://x"} | config}


def of(*components: dict[str, Any]) -> dict[str, Any]:
    return {"components": list(components)}


async def sealed(raw: Any, stored: Any = None, **how: Any) -> Any:
    found, problems = await seal_credentials(
        Plain(), ORGANIZATION, raw, {"http_request", "navigation"}, stored, **how
    )
    assert problems == []
    return found


async def test_credentials_are_sealed_by_their_names_and_everything_else_is_left() -> None:
    names = ["Authorization", "cookie", "X-API-Key", "Proxy-Authorization", "x-access-token", "apikey", "X-Auth"]
    headers = dict.fromkeys(names, "abc")
    plain = {"Accept": "abc", "X-Author": "abc", "Token": "Bearer {{token}}", "Secret": None}
    raw = of(http("a", headers=headers | plain, query={"api_key": 12, "q": "abc"}, body={"token": "abc"}))
    before = msgspec.json.encode(raw)
    config = (await sealed(raw))["components"][0]["config"]
    assert config["headers"] == dict.fromkeys(names, "sealed:v1:cba") | plain
    assert config["query"] == {"api_key": "sealed:v1:21", "q": "abc"}
    assert config["body"] == {"token": "abc"}
    assert msgspec.json.encode(raw) == before, "what was sent is left alone"


async def test_credentials_in_bodies_and_blocks_are_sealed_and_those_of_other_types_are_not() -> None:
    secret, hidden = {"headers": {"Token": "abc"}}, {"headers": {"Token": "sealed:v1:cba"}}
    inner = of({"id": "in", "type": "loop", "config": {"body": of(http("deep", **secret))}})
    raw = of({"id": "out", "type": "loop", "config": {"body": inner}}, http("b") | {"type": "log", "config": secret})
    found = await sealed(raw)
    deep = found["components"][0]["config"]["body"]["components"][0]["config"]["body"]["components"][0]
    assert deep["config"]["headers"] == hidden["headers"]
    assert found["components"][1]["config"] == secret
    block = {"id": "page", "type": "navigation", "parameters": secret}
    loop = {"id": "all", "type": "loop", "parameters": {"loop_blocks": [block]}}
    found = await sealed({"blocks": [block, loop]})
    assert found["blocks"][0]["parameters"] == hidden
    assert found["blocks"][1]["parameters"]["loop_blocks"][0]["parameters"] == hidden


async def test_what_is_shown_or_the_same_keeps_what_is_stored() -> None:
    stored = of(http("a", headers={"Token": "sealed:v1:cba"}))
    for value in (REDACTED, "abc"):
        assert await sealed(of(http("a", headers={"token": value})), stored) == of(
            http("a", headers={"token": "sealed:v1:cba"})
        )
    assert (await sealed(of(http("a", headers={"Token": "xyz"})), stored)) == of(
        http("a", headers={"Token": "sealed:v1:zyx"})
    )


async def test_what_is_shown_keeps_nothing_where_nothing_is_stored() -> None:
    loop = {"id": "l", "type": "loop", "parameters": {"loop_blocks": [{"id": "p", "type": "navigation"}]}}
    loop["parameters"]["loop_blocks"][0]["parameters"] = {"headers": {"Token": REDACTED}}
    stored = of(http("p", headers={"Token": "sealed:v1:cba"}))
    for raw, field in (
        (of(http("b", headers={"Token": REDACTED})), "definition.components[0].config.headers.Token"),
        ({"blocks": [loop]}, "definition.blocks[0].parameters.loop_blocks[0].parameters.headers.Token"),
    ):
        _, problems = await seal_credentials(Plain(), ORGANIZATION, raw, TYPES, stored)
        assert [problem.field for problem in problems] == [field]


async def test_a_text_that_looks_sealed_is_sealed_unless_it_comes_from_a_template() -> None:
    raw = of(http("a", headers={"Token": "sealed:v1:cba"}))
    assert await sealed(raw, keeps_sealed=True) == raw
    assert (await sealed(raw))["components"][0]["config"]["headers"] == {"Token": "sealed:v1:abc:1v:delaes"}


@pytest.mark.parametrize(
    "raw",
    [
        None,
        [],
        {"components": {"a": 1}},
        of({"id": 1, "type": "http_request", "config": {"headers": {"Token": "abc"}}}),
        {"components": [1, {"id": "a", "type": [], "config": {"headers": {"Token": "abc"}}}]},
        {"components": [{"id": "a", "type": "loop", "config": {"body": 5, "loop_blocks": 5}}]},
        of(http("a", headers=["Token"], query="Token")),
    ],
)
async def test_what_is_no_definition_is_left(raw: Any) -> None:
    assert await sealed(raw) == raw
