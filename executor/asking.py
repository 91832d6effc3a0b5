"""How requests reach an agent: its credential, our headers, and what an answer that is none means for a component."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

import msgspec

from executor.components.base import ComponentError
from executor.egress import Egress, EgressFailed, EgressRefused, EgressTimeout, Reply
from executor.ports import Callee

MAX_BYTES: Final = 2 * 1024 * 1024
_TEMPORARY: Final = frozenset({408, 425, 429})


class Refused(ComponentError):
    """The agent answered with a status that is no success."""

    def __init__(self, message: str, status: int, details: Any) -> None:
        super().__init__(message, temporary=status in _TEMPORARY or status >= 500, details=details)
        self.status = status


class Wire:
    """Requests to one agent within one attempt. `headers` go with every one of them; `timeout` is seconds over each.

    Everything raises `ComponentError`, whose text names the agent and nothing secret of ours.
    """

    def __init__(self, egress: Egress, callee: Callee, headers: Mapping[str, str], timeout: float) -> None:
        self.callee = callee
        self._egress, self._headers, self._timeout = egress, dict(headers), timeout

    async def get(self, url: str) -> Any:
        return _value(await self._send("GET", url, {"Accept": "application/json"}, None))

    async def post(self, url: str, value: Any, headers: Mapping[str, str] | None = None) -> Any:
        """The answer to a JSON value: its JSON parsed, else its text, null where it is empty."""
        ours = {"Content-Type": "application/json", "Accept": "application/json"} | dict(headers or {})
        return _value(await self._send("POST", url, ours, msgspec.json.encode(value)))

    def fails(self, what: str, **more: Any) -> ComponentError:
        return ComponentError(f"the agent '{self.callee.name}' {what}", **more)

    async def _send(self, method: str, url: str, headers: dict[str, str], body: bytes | None) -> Reply:
        try:
            reply = await self._egress.send(
                method,
                url,
                headers=self._headers | headers | self.callee.headers,
                body=body,
                timeout=self._timeout,
                max_bytes=MAX_BYTES,
            )
        except EgressRefused as error:
            raise self.fails(f"cannot be asked: {error}") from None
        except EgressTimeout as error:
            raise self.fails(f"gave no answer: {error}", code="TIMEOUT_ERROR", temporary=True) from None
        except EgressFailed as error:
            raise self.fails(f"cannot be reached: {error}", temporary=True) from None
        if not 200 <= reply.status < 300:
            details = {"status": reply.status, "body": reply.body.decode("utf-8", "replace")}
            raise Refused(f"the agent '{self.callee.name}' answered {reply.status}", reply.status, details)
        if reply.truncated:
            raise self.fails(f"answered more than {MAX_BYTES} bytes", code="OUTPUT_TOO_LARGE")
        return reply


def _value(reply: Reply) -> Any:
    if not reply.body:
        return None
    if "json" in reply.headers.get("content-type", "").lower():
        try:
            return msgspec.json.decode(reply.body)
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
            pass
    return reply.body.decode("utf-8", "replace")
