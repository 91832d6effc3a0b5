"""The Starlette app: every operation on its routes, the socket, and errors in the envelope."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Collection
from contextlib import AbstractAsyncContextManager, asynccontextmanager

from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.middleware import Middleware
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import BaseRoute, Match, Route, WebSocketRoute
from starlette.types import ASGIApp, Receive, Scope, Send
from starlette.websockets import WebSocket

from executor.domain.errors import Code, Problem, Refusal
from executor.ports import Clock
from hub.envelope import failed
from hub.middleware.request import RequestContext
from hub.operation import Operation, endpoint, refused
from hub.routes import (
    agents,
    apikeys,
    components,
    deliveries,
    events,
    executions,
    lifecycle,
    public_keys,
    queue,
    replays,
    schedules,
    system,
    tasks,
    templates,
    versions,
    webhooks,
    workflows,
)
from hub.services import Services
from hub.socket.endpoint import serve_socket

PREFIXES = ("/api/v1", "/api/v1/workflow_orchestration")
PROBES = ("/health", "/health/ready", "/metrics")
AT_THE_ROOT = (*PROBES, public_keys.PATH)
SOCKETS = tuple(f"{prefix}/ws" for prefix in PREFIXES)
RESOURCES = (
    workflows.RESOURCE,
    versions.RESOURCE,
    executions.RESOURCE,
    lifecycle.RESOURCE,
    tasks.RESOURCE,
    replays.RESOURCE,
    events.RESOURCE,
    webhooks.RESOURCE,
    deliveries.RESOURCE,
    public_keys.RESOURCE,
    agents.RESOURCE,
    components.RESOURCE,
    templates.RESOURCE,
    schedules.RESOURCE,
    queue.RESOURCE,
    apikeys.RESOURCE,
    system.RESOURCE,
)
OPERATIONS: tuple[Operation, ...] = tuple(op for resource in RESOURCES for op in resource.operations)

_NO_HANDSHAKE = "this is a WebSocket: open it with ws:// or wss://; a proxy has to pass Upgrade and Connection on"

Opened = Callable[[], AbstractAsyncContextManager[Services]]


def create_app(opened: Opened, clock: Clock, paths: Collection[str] | None = None) -> Starlette:
    """The app over a hub that `opened` opens at start-up and closes at shutdown; with `paths`, of operations, nothing
    but those, at the root."""

    @asynccontextmanager
    async def lifespan(app: Starlette) -> AsyncIterator[None]:
        async with opened() as services:
            app.state.services = services
            yield

    app = Starlette(
        routes=_routes() if paths is None else _routes_at_the_root(paths),
        lifespan=lifespan,
        middleware=[Middleware(RequestContext, clock=clock)],
        exception_handlers={HTTPException: _http_error(clock), Refusal: _refusal(clock)},
    )
    app.router.redirect_slashes = False
    app.router.default = _nothing(clock, app.router.not_found)
    return app


def _routes_at_the_root(paths: Collection[str]) -> list[BaseRoute]:
    return [
        Route(path, _Methods(path, operations).serve, methods=list(operations))
        for path, operations in _by_path().items()
        if path in paths
    ]


def _by_path() -> dict[str, dict[str, Operation]]:
    by_path: dict[str, dict[str, Operation]] = {}
    for operation in OPERATIONS:
        by_path.setdefault(operation.path, {})[operation.method] = operation
    return by_path


def _routes() -> list[BaseRoute]:
    sockets: list[BaseRoute] = [WebSocketRoute(path, serve_socket) for path in SOCKETS]
    routes: list[BaseRoute] = []
    for path, operations in _by_path().items():
        served = _Methods(path, operations)
        prefixes = (*PREFIXES, "") if path in AT_THE_ROOT else PREFIXES
        of = Route if "{" in path else _Named
        routes += [of(prefix + path, served.serve, methods=list(operations)) for prefix in prefixes]
    routes.sort(key=lambda route: not isinstance(route, _Named))
    return sockets + routes  # Routes are tried in turn, and clients of sockets come back all at once.


class _Named(Route):
    """A path that is written out is its own whatever the method: its last part is never the id of a thing."""

    def matches(self, scope: Scope) -> tuple[Match, Scope]:
        match, inner = super().matches(scope)
        return Match.FULL if match is Match.PARTIAL else match, inner


class _Methods:
    """The operations of one path, by method, so that a wrong method is a 405 that names the right ones."""

    def __init__(self, path: str, operations: dict[str, Operation]) -> None:
        self._path = path
        self._endpoints = {method: endpoint(operation) for method, operation in operations.items()}

    async def serve(self, request: Request) -> Response:
        request.scope["state"]["route"] = self._path
        method = "GET" if request.method == "HEAD" else request.method
        return await self._endpoints[method](request)


def _nothing(clock: Clock, otherwise: ASGIApp) -> ASGIApp:
    """Where no route leads. A handshake is told so by a 404: the 403 that servers make of a close before it is
    accepted would speak of credentials."""

    async def answer(scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "websocket" or "websocket.http.response" not in scope.get("extensions", {}):
            await otherwise(scope, receive, send)
            return
        said = f"there is no WebSocket at {scope['path']}; it is at {SOCKETS[0]}"
        body = failed([Problem(Code.RESOURCE_NOT_FOUND, said)], clock.now(), clock.new_id())
        refusal = Response(body, 404, media_type="application/json")
        await WebSocket(scope, receive, send).send_denial_response(refusal)

    return answer


def _http_error(clock: Clock) -> Callable[[Request, Exception], Response]:
    """What Starlette refuses itself: a route that is not there, a method that a route has not."""

    def answer(request: Request, error: Exception) -> Response:
        if not isinstance(error, HTTPException):
            raise error
        if request.url.path in SOCKETS:
            error = HTTPException(426, headers={"Upgrade": "websocket", "Connection": "Upgrade"})
        problem = {
            426: Problem(Code.MALFORMED_REQUEST, _NO_HANDSHAKE),
            404: Problem(Code.RESOURCE_NOT_FOUND, f"there is nothing at {request.url.path}"),
            405: Problem(Code.METHOD_NOT_ALLOWED, f"{request.method} is not for {request.url.path}"),
        }.get(error.status_code, Problem(Code.MALFORMED_REQUEST, "the request cannot be served"))
        body = failed([problem], clock.now(), request.scope["state"]["request_id"])
        return Response(body, error.status_code, error.headers, media_type="application/json")

    return answer


def _refusal(clock: Clock) -> Callable[[Request, Exception], Response]:
    """A refusal that came from where no operation was at work."""

    def answer(request: Request, error: Exception) -> Response:
        if not isinstance(error, Refusal):
            raise error
        return refused(error, clock.now(), request.scope["state"]["request_id"])

    return answer
