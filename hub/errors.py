"""What a refusal becomes at the doors: one table from codes to HTTP statuses."""

from __future__ import annotations

from executor.domain.errors import Code, Problem, Refusal

STATUS: dict[Code, int] = {
    Code.MALFORMED_REQUEST: 400,
    Code.AUTHENTICATION_ERROR: 401,
    Code.AUTHORIZATION_ERROR: 403,
    Code.RESOURCE_NOT_FOUND: 404,
    Code.METHOD_NOT_ALLOWED: 405,
    Code.RESOURCE_CONFLICT: 409,
    Code.PAYLOAD_TOO_LARGE: 413,
    Code.OUTPUT_TOO_LARGE: 413,
    Code.UNSUPPORTED_MEDIA_TYPE: 415,
    Code.VALIDATION_ERROR: 422,
    Code.WORKFLOW_INVALID: 422,
    Code.INVALID_POSITION: 422,
    Code.RATE_LIMIT_EXCEEDED: 429,
    Code.SERVICE_UNAVAILABLE: 503,
}


class Unauthenticated(Refusal):
    """Nobody knows who asks. The message never says which part of a credential was wrong."""

    def __init__(self, message: str) -> None:
        super().__init__([Problem(Code.AUTHENTICATION_ERROR, message)])


class Forbidden(Refusal):
    """The caller is known and lacks a permission, which is named."""

    def __init__(self, permission: str) -> None:
        message = f"this needs the permission '{permission}'"
        super().__init__([Problem(Code.AUTHORIZATION_ERROR, message, details={"permission": permission})])


class BadRequest(Refusal):
    """The request cannot be read at all."""

    def __init__(self, code: Code, message: str) -> None:
        super().__init__([Problem(code, message)])


def status_of(refusal: Refusal) -> int:
    """A shape that is wrong weighs as much as a graph that is; anything unknown is our fault."""
    return STATUS.get(refusal.code, 500)
