from __future__ import annotations

import msgspec

from executor.domain.errors import Code, Problem
from executor.domain.values import Instant
from hub.envelope import Answer, Page, failed, succeeded

NOW = Instant("2026-01-31T12:00:00.000Z")
ALWAYS = {"timestamp": NOW, "request_id": "r", "version": "0.1.0"}


def test_a_success_has_no_errors() -> None:
    assert msgspec.json.decode(succeeded(Answer({"a": 1}, "done"), NOW, "r")) == {
        "success": True,
        "data": {"a": 1},
        "message": "done",
        "errors": [],
        "metadata": ALWAYS,
    }


def test_a_list_says_of_itself_what_it_is() -> None:
    page = Page(total_count=None, limit=5, offset=0, has_more=True, next_cursor="c")
    decoded = msgspec.json.decode(succeeded(Answer([msgspec.Raw(b'{"as": "it is"}')], page=page), NOW, "r"))
    assert decoded["data"] == [{"as": "it is"}]
    assert decoded["metadata"] == ALWAYS | {
        "total_count": None,
        "limit": 5,
        "offset": 0,
        "has_more": True,
        "next_cursor": "c",
    }


def test_a_failure_has_every_problem() -> None:
    problems = [Problem(Code.VALIDATION_ERROR, "wrong", "a.b[0]", {"x": 1}), Problem(Code.SYSTEM_ERROR, "worse")]
    decoded = msgspec.json.decode(failed(problems, NOW, "r"))
    assert (decoded["success"], decoded["data"], decoded["message"]) == (False, None, "wrong")
    assert decoded["errors"] == [
        {"code": "VALIDATION_ERROR", "message": "wrong", "field": "a.b[0]", "details": {"x": 1}},
        {"code": "SYSTEM_ERROR", "message": "worse", "field": None, "details": None},
    ]
