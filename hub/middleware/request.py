"""Around every request: its id, its time, its line in the log, and what an error that nobody expected becomes."""

from __future__ import annotations

import re
import time

import structlog
from starlette.responses import Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from executor.domain.errors import Code, Problem
from executor.ports import Clock
from hub.envelope import failed
from hub.meter import UNMATCHED, RequestMeter

_logger = structlog.get_logger("hub.http")
_REQUEST_ID = re.compile(r"[A-Za-z0-9._-]{1,128}")


class RequestContext:
    """Takes a client's `X-Request-ID` where it is a sane one, else makes one; answers with it and `X-Process-Time`
    (seconds). Query strings are not logged: they may hold a token."""

    def __init__(self, app: ASGIApp, clock: Clock) -> None:
        self._app = app
        self._clock = clock

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        begin, status = time.perf_counter(), 0
        request_id = self._request_id(scope)
        scope.setdefault("state", {})["request_id"] = request_id

        async def answer(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
                seconds = time.perf_counter() - begin
                _count(scope, status, seconds)
                message["headers"] = [
                    *message.get("headers", ()),
                    (b"x-request-id", request_id.encode()),
                    (b"x-process-time", f"{seconds:.6f}".encode()),
                ]
            await send(message)

        try:
            await self._app(scope, receive, answer)
        except Exception:
            _logger.exception("request.failed", method=scope["method"], path=scope["path"], request_id=request_id)
            if status:
                raise
            problem = Problem(Code.SYSTEM_ERROR, "something went wrong here; the request id finds it in the log")
            body = failed([problem], self._clock.now(), request_id)
            await Response(body, 500, media_type="application/json")(scope, receive, answer)
        finally:
            _logger.debug(
                "request",
                method=scope["method"],
                path=scope["path"],
                status=status,
                seconds=round(time.perf_counter() - begin, 6),
                request_id=request_id,
            )

    def _request_id(self, scope: Scope) -> str:
        for name, value in scope["headers"]:
            if name == b"x-request-id":
                text = value.decode("latin-1")
                if _REQUEST_ID.fullmatch(text):
                    return str(text)
        return self._clock.new_id()


def _count(scope: Scope, status: int, seconds: float) -> None:
    """Under the path that the app has found for it."""
    requests: RequestMeter = scope["app"].state.services.requests
    requests.answered(scope["method"], scope["state"].get("route", UNMATCHED), status, seconds)
