"""`http_request`: one request to the outside, through the guard of `executor/egress.py`."""

from __future__ import annotations

from typing import Any, ClassVar
from urllib.parse import urlencode, urlsplit, urlunsplit

import msgspec

from executor.components.base import Component, ComponentError, Context, Output, config_of
from executor.egress import EgressFailed, EgressRefused, EgressTimeout, Reply

_MAX_BYTES = 1024 * 1024
_TEMPORARY = frozenset({408, 425, 429})
_TEXT = {"type": ["string", "number", "boolean"]}


class HttpRequest(Component):
    type = "http_request"
    name = "HTTP request"
    description = (
        "Sends one HTTP request. Redirects are not followed; 408, 425, 429, 5xx and network errors are temporary; "
        "at most 1 MiB is read. Carries Idempotency-Key and X-Runcast-Attempt."
    )
    category = "integration"
    config_schema = config_of(
        {
            "url": {"type": "string", "minLength": 1, "maxLength": 2048, "format": "uri"},
            "method": {
                "type": "string",
                "enum": ["GET", "POST", "PUT", "PATCH", "DELETE", "HEAD", "OPTIONS"],
                "default": "GET",
            },
            "headers": {"type": "object", "additionalProperties": _TEXT},
            "query": {"type": "object"},
            "body": {},
            "timeout": {"type": "number", "exclusiveMinimum": 0, "maximum": 3600, "default": 30},
            "expect_status": {
                "oneOf": [
                    {"type": "integer", "minimum": 100, "maximum": 599},
                    {"type": "array", "items": {"type": "integer", "minimum": 100, "maximum": 599}, "minItems": 1},
                ]
            },
        },
        "url",
    )
    output_schema: ClassVar[dict[str, Any]] = {
        "type": "object",
        "properties": {"status": {"type": "integer"}, "headers": {"type": "object"}, "body": {}},
        "required": ["status", "headers", "body"],
    }
    goes_outside = True

    async def run(self, context: Context) -> Output:
        config = context.config
        headers, body = _payload(config)
        ours = {"Idempotency-Key": context.idempotency_key, "X-Runcast-Attempt": str(context.attempt)}
        taken = {name.lower() for name in ours}
        headers = {name: value for name, value in headers.items() if name.lower() not in taken} | ours
        try:
            reply = await context.egress.send(
                config.get("method", "GET"),
                _url(config),
                headers=headers,
                body=body,
                timeout=float(config.get("timeout", 30)),
                max_bytes=_MAX_BYTES,
            )
        except EgressRefused as error:
            raise ComponentError(str(error)) from None
        except EgressTimeout as error:
            raise ComponentError(str(error), code="TIMEOUT_ERROR", temporary=True) from None
        except EgressFailed as error:
            raise ComponentError(str(error), temporary=True) from None
        return Output(_checked(config, reply))


def _url(config: dict[str, Any]) -> str:
    if not config.get("query"):
        return str(config["url"])
    try:
        parts = urlsplit(config["url"])
    except ValueError:
        return str(config["url"])  # The guard says what is wrong with it.
    pairs = []
    for name, value in config["query"].items():
        values = value if isinstance(value, list) else [value]
        pairs += [(name, _text(item)) for item in values if item is not None]
    query = "&".join(part for part in (parts.query, urlencode(pairs)) if part)
    return str(urlunsplit(parts._replace(query=query)))


def _payload(config: dict[str, Any]) -> tuple[dict[str, str], bytes | None]:
    """A text is sent as it is, anything else as JSON; the content type only where the config has none."""
    headers = {name: _text(value) for name, value in config.get("headers", {}).items()}
    body = config.get("body")
    if body is None:
        return headers, None
    is_text = isinstance(body, str)
    if not any(name.lower() == "content-type" for name in headers):
        headers["Content-Type"] = "text/plain; charset=utf-8" if is_text else "application/json"
    return headers, body.encode() if is_text else msgspec.json.encode(body)


def _text(value: Any) -> str:
    return value if isinstance(value, str) else msgspec.json.encode(value).decode()


def _checked(config: dict[str, Any], reply: Reply) -> dict[str, Any]:
    """The output, or why the answer is not what was expected."""
    expected = config.get("expect_status")
    allowed = expected if isinstance(expected, list | None) else [expected]
    output = {"status": reply.status, "headers": _headers(reply), "body": _body(reply)}
    if reply.status in allowed if allowed else 200 <= reply.status < 300:
        if reply.truncated:
            raise ComponentError("the answer is larger than 1 MiB", code="OUTPUT_TOO_LARGE")
        return output
    raise ComponentError(
        f"the server answered {reply.status}",
        temporary=reply.status in _TEMPORARY or reply.status >= 500,
        details={"status": reply.status, "body": output["body"]},
    )


def _headers(reply: Reply) -> dict[str, str]:
    """As texts: bytes that are no UTF-8 are replaced."""
    return {
        name: value.encode("utf-8", "surrogateescape").decode("utf-8", "replace")
        for name, value in reply.headers.items()
    }


def _body(reply: Reply) -> Any:
    """JSON parsed where the answer says that it is JSON and it is; else text; null where there is none."""
    if not reply.body:
        return None
    kind = next((value for name, value in reply.headers.items() if name.lower() == "content-type"), "")
    if "json" in kind.lower():
        try:
            return msgspec.json.decode(reply.body)
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
            pass
    return reply.body.decode("utf-8", "replace")
