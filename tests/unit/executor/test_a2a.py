"""What can be seen of A2A without an agent; tests/integration/test_agents.py has real ones."""

from __future__ import annotations

from typing import Any

import pytest

from executor.a2a import V0_3, V1, _ended, _interfaces, _state, answer_of, message_id
from executor.asking import Wire
from executor.components.base import ComponentError
from executor.domain.values import RetryPolicy
from executor.egress import Egress
from executor.ports import Callee

AT = "https://agents.example.com/one/.well-known/agent-card.json"
WIRE = Wire(
    Egress(),
    Callee(
        id="I",
        name="reader",
        url="https://agents.example.com/one",
        protocol="a2a",
        headers={"Authorization": "Bearer t0ken"},
        timeout_seconds=1,
        retry=RetryPolicy(),
    ),
    {},
    1,
)


def test_an_idempotency_key_is_always_the_same_message() -> None:
    assert message_id("R/a/-/0") == message_id("R/a/-/0") == "4220d8d6-65d2-5104-b100-888cc427bb4e"
    assert message_id("R/a/-/0") != message_id("R/a/-/1"), "another after a retry that a person asked for"


@pytest.mark.parametrize(
    ("card", "found"),
    [
        (
            {
                "supportedInterfaces": [
                    {"url": "https://x/grpc", "protocolBinding": "GRPC", "protocolVersion": "1.0"},
                    {"url": "https://x/rpc", "protocolBinding": "JSONRPC", "protocolVersion": "1.0", "tenant": "t"},
                    {"url": "https://x/old", "protocolBinding": "JSONRPC", "protocolVersion": "0.3"},
                    {"url": "https://x/new", "protocolBinding": "JSONRPC", "protocolVersion": "2.0"},
                    {"protocolBinding": "JSONRPC"},
                    "nonsense",
                ]
            },
            [("https://x/rpc", V1, "t"), ("https://x/old", V0_3, "")],
        ),
        (
            {"url": "https://x/old", "protocolVersion": "0.3.0"},
            [("https://x/old", V0_3, "")],
        ),
        (
            {
                "url": "https://x/grpc",
                "preferredTransport": "GRPC",
                "additionalInterfaces": [{"url": "https://x/old", "transport": "JSONRPC"}, 1],
            },
            [("https://x/old", V0_3, "")],
        ),
        ({"url": "rpc"}, [("https://agents.example.com/one/.well-known/rpc", V0_3, "")]),
        ({"supportedInterfaces": []}, []),
    ],
)
def test_a_card_says_where_an_agent_is_spoken_to(card: dict[str, Any], found: list[Any]) -> None:
    assert [tuple(each) for each in _interfaces(card, AT)] == found


@pytest.mark.parametrize(
    ("state", "read"),
    [
        ("TASK_STATE_COMPLETED", "completed"),
        ("TASK_STATE_INPUT_REQUIRED", "input_required"),
        ("input-required", "input_required"),
        ("working", "working"),
    ],
)
def test_states_are_read_in_the_words_of_either_version(state: str, read: str) -> None:
    assert _state({"status": {"state": state}}) == read


@pytest.mark.parametrize(
    ("parts", "answer"),
    [
        ([], None),
        (None, None),
        ([{"text": "a"}], "a"),
        ([{"kind": "text", "text": "a"}, {"kind": "text", "text": "b"}], "a\nb"),
        ([{"data": {"x": 1}}], {"x": 1}),
        ([{"kind": "data", "data": {"x": 1}}, {"data": [2]}], [{"x": 1}, [2]]),
        ([{"text": "a"}, {"data": 1}], {"text": "a", "data": [1], "files": []}),
        (
            [{"url": "https://x/f", "filename": "f", "mediaType": "text/plain", "metadata": {}}],
            {"text": "", "data": [], "files": [{"url": "https://x/f", "filename": "f", "mediaType": "text/plain"}]},
        ),
        (
            [{"kind": "file", "file": {"uri": "https://x/f"}}],
            {"text": "", "data": [], "files": [{"uri": "https://x/f"}]},
        ),
        (["nonsense", {"kind": "other"}], None),
    ],
)
def test_the_answer_is_as_simple_as_its_parts_allow(parts: Any, answer: Any) -> None:
    assert answer_of(parts) == answer


def test_a_completed_task_answers_with_its_artifacts_else_with_what_it_said() -> None:
    status = {"state": "completed", "message": {"parts": [{"text": "done"}]}}
    artifacts = [{"parts": [{"text": "one"}]}, {"parts": [{"text": "two"}]}]
    assert _ended(WIRE, {"status": status, "artifacts": artifacts}) == "one\ntwo"
    assert _ended(WIRE, {"status": status, "artifacts": []}) == "done"
    assert _ended(WIRE, {"status": {"state": "completed"}}) is None


@pytest.mark.parametrize("state", ["failed", "rejected", "canceled", "input-required", "auth-required", "unknown"])
def test_a_task_that_ends_otherwise_is_a_final_failure_that_says_how(state: str) -> None:
    status = {"state": state, "message": {"parts": [{"text": "because"}]}}
    with pytest.raises(ComponentError, match=f"'reader'.*{state.replace('-', '_')}: because") as caught:
        _ended(WIRE, {"status": status})
    assert not caught.value.temporary


def test_nothing_that_is_shown_of_a_callee_has_its_credential() -> None:
    assert "t0ken" not in repr(WIRE.callee)
