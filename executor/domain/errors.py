"""Refusals: what a decider or a check answers instead of events.

A refusal has a stable code (the public contract's), problems with a field path each, and says whether trying
again may help. What it becomes over HTTP, WebSocket or GraphQL is decided at the doors, in `hub/errors.py`.
"""

from __future__ import annotations

from collections.abc import Iterable
from enum import StrEnum
from typing import Any

from msgspec import Struct


class Code(StrEnum):
    """The codes of the public contract."""

    VALIDATION_ERROR = "VALIDATION_ERROR"
    AUTHENTICATION_ERROR = "AUTHENTICATION_ERROR"
    AUTHORIZATION_ERROR = "AUTHORIZATION_ERROR"
    RESOURCE_NOT_FOUND = "RESOURCE_NOT_FOUND"
    RESOURCE_CONFLICT = "RESOURCE_CONFLICT"
    WORKFLOW_INVALID = "WORKFLOW_INVALID"
    EXECUTION_FAILED = "EXECUTION_FAILED"
    COMPONENT_ERROR = "COMPONENT_ERROR"
    TIMEOUT_ERROR = "TIMEOUT_ERROR"
    RATE_LIMIT_EXCEEDED = "RATE_LIMIT_EXCEEDED"
    SYSTEM_ERROR = "SYSTEM_ERROR"
    MALFORMED_REQUEST = "MALFORMED_REQUEST"
    PAYLOAD_TOO_LARGE = "PAYLOAD_TOO_LARGE"
    UNSUPPORTED_MEDIA_TYPE = "UNSUPPORTED_MEDIA_TYPE"
    METHOD_NOT_ALLOWED = "METHOD_NOT_ALLOWED"
    SERVICE_UNAVAILABLE = "SERVICE_UNAVAILABLE"
    OUTPUT_TOO_LARGE = "OUTPUT_TOO_LARGE"
    INVALID_POSITION = "INVALID_POSITION"


class Problem(Struct, frozen=True):
    """One thing that is wrong: `field` is a path such as `definition.components[0].config.url`."""

    code: Code
    message: str
    field: str | None = None
    details: dict[str, Any] | None = None


class Refusal(Exception):
    """A command that was understood and refused. Nothing has changed.

    `temporary` says that the same command may succeed later.
    """

    temporary = False

    def __init__(self, problems: Iterable[Problem], message: str | None = None) -> None:
        self.problems = tuple(problems)
        super().__init__(message or "; ".join(problem.message for problem in self.problems))

    @property
    def code(self) -> Code:
        return self.problems[0].code


class NotFound(Refusal):
    """The thing does not exist, or not for who asks."""

    def __init__(self, what: str, id: str, when: str = "") -> None:
        """`when` says as of when one looked, where that is not now."""
        said = f"{what} '{id}' was not found {when}".rstrip()
        super().__init__([Problem(Code.RESOURCE_NOT_FOUND, said)])


class Archived(Refusal):
    """The thing ended long ago, and what is left of it is in a file; nothing can be shown of it or done with it."""

    def __init__(self, what: str, id: str, at: str | None = None, file: str | None = None) -> None:
        said = f"{what} '{id}' was archived"
        if at is not None:
            said += f" at {at} into the file '{file}'"
        details = None if at is None else {"archived_at": at, "file": file}
        super().__init__([Problem(Code.RESOURCE_NOT_FOUND, said, details=details)])


class ResourceConflict(Refusal):
    """What is asked does not go with the present state of the thing."""

    def __init__(self, message: str, field: str | None = None, **details: Any) -> None:
        super().__init__([Problem(Code.RESOURCE_CONFLICT, message, field, details or None)])


class Invalid(Refusal):
    """The input is wrong: every problem of it at once."""


class Stale(Refusal):
    """An engine's command with an epoch or attempt that is no longer the run's: its owner must let go."""

    def __init__(self, message: str) -> None:
        super().__init__([Problem(Code.RESOURCE_CONFLICT, message)])


class Unavailable(Refusal):
    """Something that we need is away for now; the same command may succeed later."""

    temporary = True

    def __init__(self, message: str) -> None:
        super().__init__([Problem(Code.SERVICE_UNAVAILABLE, message)])
