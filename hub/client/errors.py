"""What can go wrong for a client. Every error is a `ClientError`; none of them shows a credential."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from msgspec import Struct


class Problem(Struct, frozen=True, kw_only=True):
    """One thing that is wrong: `field` is a path such as `definition.components[0].config.url`."""

    code: str = ""
    message: str = ""
    field: str | None = None
    details: dict[str, Any] | None = None


class ClientError(Exception):
    """Any of the below."""


class Misused(ClientError, ValueError):
    """The client was given something that it cannot work with; nothing was sent."""


class Unreachable(ClientError):
    """No answer came, however often it was tried. Whether the last request was done is not known."""


class NoEnvelope(ClientError):
    """Something answered that is not a hub: a proxy, another program, another path."""

    def __init__(self, status: int, url: str) -> None:
        super().__init__(f"{url} answered {status}, and not as Runcast does; is the URL right?")
        self.status = status


class CompletionTimeout(ClientError, TimeoutError):
    """An execution did not end in time. It goes on; `status` is the last that was seen of it."""

    def __init__(self, execution_id: str, seconds: float, status: str | None) -> None:
        seen = "was not seen" if status is None else f"is {status}"
        super().__init__(f"execution '{execution_id}' {seen} after {seconds:g} seconds; it was not cancelled")
        self.execution_id, self.status = execution_id, status


class ApiError(ClientError):
    """The hub refused a request. `errors` are all that was wrong with it, and `code`, `field` and `details` those of
    the first; `request_id` is the one in the hub's log; `retry_after` is seconds, where the hub said so."""

    def __init__(
        self,
        status: int,
        errors: Sequence[Problem],
        message: str = "",
        request_id: str | None = None,
        retry_after: float | None = None,
    ) -> None:
        first = errors[0] if errors else Problem(code="SYSTEM_ERROR", message=message)
        self.status = status
        self.code, self.field, self.details = first.code, first.field, first.details
        self.message = message or first.message
        self.errors = tuple(errors)
        self.request_id = request_id
        self.retry_after = retry_after
        super().__init__(f"{status} {self.code}: {self.message}")


class InvalidRequest(ApiError):
    """400, 413, 415 and 422."""


class AuthenticationFailed(ApiError):
    """401: the credentials are missing, wrong, expired or revoked."""


class PermissionDenied(ApiError):
    """403: the message names the permission."""


class NotFound(ApiError):
    """404: it is not there, or not for who asks."""


class Conflict(ApiError):
    """409: it does not go with the present state of the thing."""


class RateLimited(ApiError):
    """429, after all tries."""


class HubFailed(ApiError):
    """5xx, after all tries."""


_BY_STATUS: Mapping[int, type[ApiError]] = {
    **dict.fromkeys((400, 413, 415, 422), InvalidRequest),
    401: AuthenticationFailed,
    403: PermissionDenied,
    404: NotFound,
    409: Conflict,
    429: RateLimited,
}


def error_of(status: int) -> type[ApiError]:
    """The kind of error that a status is."""
    return HubFailed if status >= 500 else _BY_STATUS.get(status, ApiError)


class SubscriptionRefused(ClientError):
    """The hub will not serve this channel; other subscriptions go on."""

    def __init__(self, channel: str, problem: Problem) -> None:
        where = "" if problem.field is None else f"{problem.field}: "
        super().__init__(f"{channel}: {problem.code}: {where}{problem.message}")
        self.channel = channel
        self.code, self.message, self.field = problem.code, problem.message, problem.field


class SocketStopped(ClientError):
    """The hub closed the socket, and to come back would be of no use. `code` is that of the close."""

    def __init__(self, code: int, reason: str) -> None:
        super().__init__(f"the hub closed the socket for good ({code}): {reason}")
        self.code, self.reason = code, reason


class NoSocket(ClientError):
    """Where the socket should be there never was one: the address is wrong, or a proxy lets none through."""


class ClientClosed(ClientError):
    """The client was closed."""
