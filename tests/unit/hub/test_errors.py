from __future__ import annotations

import pytest

from executor.domain.errors import Code, Invalid, NotFound, Problem, Refusal, ResourceConflict, Unavailable
from hub.errors import BadRequest, Forbidden, Unauthenticated, status_of


@pytest.mark.parametrize(
    ("refusal", "status"),
    [
        (BadRequest(Code.MALFORMED_REQUEST, "x"), 400),
        (Unauthenticated("x"), 401),
        (Forbidden("workflow.read"), 403),
        (NotFound("workflow", "x"), 404),
        (ResourceConflict("x"), 409),
        (BadRequest(Code.PAYLOAD_TOO_LARGE, "x"), 413),
        (BadRequest(Code.UNSUPPORTED_MEDIA_TYPE, "x"), 415),
        (Invalid([Problem(Code.WORKFLOW_INVALID, "x")]), 422),
        (Invalid([Problem(Code.VALIDATION_ERROR, "x")]), 422),
        (Unavailable("x"), 503),
        (Invalid([Problem(Code.SYSTEM_ERROR, "x")]), 500),
    ],
)
def test_each_refusal_has_its_status(refusal: Refusal, status: int) -> None:
    assert status_of(refusal) == status


def test_a_missing_permission_is_named() -> None:
    (problem,) = Forbidden("workflow.read").problems
    assert problem.details == {"permission": "workflow.read"}
    assert "workflow.read" in problem.message
