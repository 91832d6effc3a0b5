"""An operation of the REST API: its route, what it needs, what it takes; and the one way every request goes.

Each route is declared with the permission it needs, or `OPEN`, or `ANYBODY` with credentials; there is no default.
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import Awaitable, Callable, Mapping
from functools import partial
from typing import TYPE_CHECKING, Any, Generic, TypeVar

import msgspec
from msgspec import Struct
from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response

from executor.domain.errors import Code, Invalid, Problem, Refusal
from executor.domain.values import Instant
from executor.ports import Metadata
from executor.shapes import Shape
from hub.auth.principal import Principal
from hub.envelope import Answer, failed, succeeded
from hub.errors import BadRequest, Forbidden, Unauthenticated, status_of
from hub.idempotency import HEADER, fingerprint
from hub.queries import NoQuery, parse_query

if TYPE_CHECKING:
    from hub.services import Services

OPEN = "open"
"""Needs no credentials."""
ANYBODY = "anybody"
"""Needs credentials, and no permission."""

BODY_SECONDS = 30.0
"""How long a body may take to come in."""

_RETRY = {"Retry-After": "1"}
_TOP = re.compile(r"[.\[]")

B = TypeVar("B")
Q = TypeVar("Q", bound=Struct)


class NoBody(Struct, frozen=True, forbid_unknown_fields=True):
    """For what takes no body (an empty object is one)."""


class Call(Struct, Generic[B, Q], frozen=True, kw_only=True):
    """One request, understood: who, with which path, query and body. `headers` are found in any case."""

    services: Any
    principal: Principal
    path: dict[str, str]
    query: Q
    body: B
    request_id: str
    now: Instant
    headers: Mapping[str, str] = {}
    gone: Callable[[], Awaitable[None]]
    """Returns when the client has gone, whom nobody needs to answer any more."""

    @property
    def hub(self) -> Services:
        services: Services = self.services
        return services

    @property
    def organization_id(self) -> str:
        return self.principal.organization_id

    @property
    def metadata(self) -> Metadata:
        return Metadata(actor=self.principal.actor, request_id=self.request_id)


Handler = Callable[[Call[Any, Any]], Awaitable[Answer | Response]]
"""What it answers comes in the envelope, unless it is a response of its own."""
Inspect = Callable[[Any, dict[str, Any]], Awaitable[list[Problem]]]
"""What is wrong beyond the shape with some fields of a body, for one whose other fields are wrong already."""


class Operation(Struct, frozen=True, kw_only=True):
    """One route. `path` is below `/api/v1`."""

    method: str
    path: str
    needs: str
    handler: Handler
    body: type[Any]
    query: type[Any]
    status: int
    summary: str
    tag: str
    inspect: Inspect | None


class Resource:
    """Collects the operations of one file of routes."""

    def __init__(self, tag: str) -> None:
        self.tag = tag
        self.operations: list[Operation] = []

    def route(
        self,
        method: str,
        path: str,
        *,
        needs: str,
        body: type[Any] = NoBody,
        query: type[Any] = NoQuery,
        status: int = 200,
        inspect: Inspect | None = None,
    ) -> Callable[[Handler], Handler]:
        def declare(handler: Handler) -> Handler:
            self.operations.append(
                Operation(
                    method=method,
                    path=path,
                    needs=needs,
                    handler=handler,
                    body=body,
                    query=query,
                    status=status,
                    summary=(handler.__doc__ or handler.__name__).strip().split("\n")[0].rstrip("."),
                    tag=self.tag,
                    inspect=inspect,
                )
            )
            return handler

        return declare


NOBODY = Principal(
    type="anonymous",
    id="",
    name="",
    organization_id="",
    organization_name="",
    role=None,
    permissions=frozenset(),
    expires_at=None,
)


def endpoint(operation: Operation) -> Callable[[Request], Awaitable[Response]]:
    """The Starlette endpoint of an operation: credentials, permission, query, body, handler, envelope."""
    shape = Shape(operation.body)

    async def serve(request: Request) -> Response:
        services: Services = request.app.state.services
        request_id = request.scope["state"]["request_id"]
        try:
            principal = await _admit(operation, request, services)
            raw = await _body(request, services.settings.max_body_bytes)
            query, body = await _understood(operation, shape, request, raw, services)
            call = Call(
                services=services,
                principal=principal,
                path=request.path_params,
                query=query,
                body=body,
                request_id=request_id,
                now=services.clock.now(),
                headers=request.headers,
                gone=partial(_gone, request),
            )
            key = request.headers.get(HEADER) if operation.method == "POST" else None
            if key is None:
                return await perform(call)
            print = fingerprint(operation.method, request.url.path, request.url.query, raw)
            return await services.idempotency.once(
                principal.organization_id, key, print, lambda: told(call, perform(call))
            )
        except Refusal as refusal:
            return refused(refusal, services.clock.now(), request_id)

    async def perform(call: Call[Any, Any]) -> Response:
        answer = await operation.handler(call)
        if isinstance(answer, Response):
            return answer
        body, status = succeeded(answer, call.hub.clock.now(), call.request_id), answer.status or operation.status
        return Response(body, status, _RETRY if status == 503 else None, media_type="application/json")

    async def told(call: Call[Any, Any], work: Awaitable[Response]) -> Response:
        """A refusal is an answer too."""
        try:
            return await work
        except Refusal as refusal:
            return refused(refusal, call.hub.clock.now(), call.request_id)

    return serve


async def _gone(request: Request) -> None:
    while (await request.receive())["type"] != "http.disconnect":
        pass


async def _understood(
    operation: Operation, shape: Shape[Any], request: Request, raw: Any, services: Services
) -> tuple[Any, Any]:
    """Query and body, typed. Raises `Invalid` with what is wrong in either; then also with what the operation finds
    in those fields of the body whose shape is right, so that everything is said at once."""
    query = body = None
    problems: list[Problem] = []
    try:
        query = parse_query(request.query_params.multi_items(), operation.query)
    except Invalid as invalid:
        problems += invalid.problems
    try:
        body = shape.parse(raw)
    except Invalid as invalid:
        problems += invalid.problems
        if operation.inspect is not None and isinstance(raw, dict):
            wrong = {_TOP.split(problem.field or "", maxsplit=1)[0] for problem in invalid.problems}
            right = {name: value for name, value in raw.items() if name not in wrong}
            problems += await operation.inspect(services, right)
    if problems:
        raise Invalid(problems)
    return query, body


def refused(refusal: Refusal, now: Instant, request_id: str) -> Response:
    status = status_of(refusal)
    headers = {}
    if status == 401:
        headers["WWW-Authenticate"] = 'Bearer realm="runcast"'
    if status == 503:
        headers |= _RETRY
    if status == 429:
        headers["Retry-After"] = str((refusal.problems[0].details or {}).get("retry_after", 1))
    body = failed(refusal.problems, now, request_id, str(refusal))
    return Response(body, status, headers, media_type="application/json")


async def _admit(operation: Operation, request: Request, services: Services) -> Principal:
    if operation.needs == OPEN:
        return NOBODY
    credential = _credential(request)
    if credential is None and "token" in operation.query.__struct_fields__:
        credential = request.query_params.get("token")
    if credential is None:
        raise Unauthenticated("credentials are missing; send X-API-Key or Authorization: Bearer")
    principal = await services.authenticate(credential)
    if principal is None:
        raise Unauthenticated("the credentials are invalid, expired or revoked")
    if operation.needs != ANYBODY and not principal.allows(operation.needs):
        raise Forbidden(operation.needs)
    return principal


def _credential(request: Request) -> str | None:
    key = request.headers.get("x-api-key")
    if key:
        return key
    scheme, _, token = request.headers.get("authorization", "").partition(" ")
    return token.strip() or None if scheme.lower() == "bearer" else None


async def _body(request: Request, most: int) -> Any:
    """The JSON of the body, `{}` where there is none. Reads no more than it may."""
    declared = request.headers.get("content-length", "")
    too_large = BadRequest(Code.PAYLOAD_TOO_LARGE, f"the body is larger than {most} bytes")
    if declared.isdigit() and (len(declared) > 18 or int(declared) > most):
        raise too_large
    received = bytearray()
    try:
        async with asyncio.timeout(BODY_SECONDS):
            async for chunk in request.stream():
                received += chunk
                if len(received) > most:
                    raise too_large
    except TimeoutError:
        message = f"the body did not come within {BODY_SECONDS:g} seconds"
        raise BadRequest(Code.MALFORMED_REQUEST, message) from None
    except ClientDisconnect:
        raise BadRequest(Code.MALFORMED_REQUEST, "the connection ended before the body did") from None
    if not received:
        return {}
    kind = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    if kind != "application/json" and not (kind.startswith("application/") and kind.endswith("+json")):
        message = f"the content type is '{kind}'" if kind else "the content type is missing"
        raise BadRequest(Code.UNSUPPORTED_MEDIA_TYPE, f"{message}; send application/json")
    try:
        return msgspec.json.decode(received)
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise BadRequest(Code.MALFORMED_REQUEST, f"the body is not JSON: {error}") from None
    except RecursionError:
        raise BadRequest(Code.MALFORMED_REQUEST, "the body is nested too deeply") from None
