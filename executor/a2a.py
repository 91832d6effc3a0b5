"""Agent2Agent over JSON-RPC, as a client: 1.0, and 0.3 for agents that know no other.

https://a2a-protocol.org/v1.0.0/specification (3.2 objects, 8.2 discovery, 9 JSON-RPC) and …/v0.3.0/specification. An
agent's card says where it is spoken to and in which version. We never wait on the connection for a long answer: the
message is sent to be acknowledged at once, and the task that comes of it is polled until it ends.
"""

from __future__ import annotations

import asyncio
import uuid
from typing import Any, Final, NamedTuple
from urllib.parse import urljoin, urlsplit

import msgspec

from executor.agents import below
from executor.asking import Refused, Wire
from executor.components.base import ComponentError
from executor.domain.agent import Protocol

CARD: Final = "/.well-known/agent-card.json"
BINDING: Final = "JSONRPC"

_FIRST_POLL_SECONDS: Final = 0.05
_LONGEST_POLL_SECONDS: Final = 5.0
_LOST_POLLS: Final = 5
"""How many polls in a row may fail before the attempt does."""

_METHOD_NOT_FOUND: Final = -32601
_INTERNAL_ERROR: Final = -32603
_TASK_NOT_FOUND: Final = -32001
_VERSION_NOT_SUPPORTED: Final = -32009
_GOES_ON: Final = frozenset({"submitted", "working"})


class Version(NamedTuple):
    """What the versions say differently."""

    send: str
    get: str
    headers: dict[str, str]
    role: str
    kind: dict[str, str]
    at_once: dict[str, Any]


V1: Final = Version("SendMessage", "GetTask", {"A2A-Version": "1.0"}, "ROLE_USER", {}, {"returnImmediately": True})
V0_3: Final = Version("message/send", "tasks/get", {}, "user", {"kind": "message"}, {"blocking": False})


class Interface(NamedTuple):
    """Where an agent is spoken to, and how."""

    url: str
    version: Version
    tenant: str = ""


class RpcError(ComponentError):
    """The agent answered with an error of JSON-RPC."""

    def __init__(self, name: str, code: Any, message: Any) -> None:
        is_temporary = code in (_INTERNAL_ERROR, _TASK_NOT_FOUND)
        text = f"the agent '{name}' answered with the error {code}: {message}"
        super().__init__(text, temporary=is_temporary)
        self.rpc_code = code


def message_id(key: str) -> str:
    """Of an idempotency key: the same at every attempt, so that the agent can see that it knows the message."""
    return str(uuid.uuid5(uuid.NAMESPACE_URL, f"runcast:{key}"))


async def discovered(wire: Wire) -> list[Interface] | None:
    """The interfaces of the agent's card that we speak, the newest version first; null where it has no card.

    The card is looked for below the agent's URL, and at its host for one that is said to speak A2A: another's card
    may be there, and be none of a plain agent's.
    """
    found = await _at(wire, below(wire.callee.url, CARD))
    if found is None and wire.callee.protocol == Protocol.A2A and urlsplit(wire.callee.url).path.strip("/"):
        return await _at(wire, urljoin(wire.callee.url, CARD))
    return found


async def _at(wire: Wire, url: str) -> list[Interface] | None:
    try:
        card = await wire.get(url)
    except Refused as refused:
        if refused.temporary:
            raise
        return None
    if not isinstance(card, dict) or not ("supportedInterfaces" in card or isinstance(card.get("url"), str)):
        return None
    return sorted(_interfaces(card, url), key=lambda each: each.version is V0_3)


def _interfaces(card: dict[str, Any], at: str) -> list[Interface]:
    """Of a card of 1.0 (`supportedInterfaces`) or of 0.3 (`url`, `preferredTransport`, `additionalInterfaces`)."""
    listed = card.get("supportedInterfaces")
    if not isinstance(listed, list):
        version, others = card.get("protocolVersion", "0.3.0"), card.get("additionalInterfaces")
        main = {"url": card["url"], "transport": card.get("preferredTransport", BINDING)}
        listed = [
            {"url": each.get("url"), "protocolBinding": each.get("transport"), "protocolVersion": version}
            for each in [main, *(others if isinstance(others, list) else [])]
            if isinstance(each, dict)
        ]
    found = []
    for each in listed:
        if isinstance(each, dict) and each.get("protocolBinding") == BINDING and isinstance(each.get("url"), str):
            major = str(each.get("protocolVersion", "1.0")).partition(".")[0]
            version = {"1": V1, "0": V0_3}.get(major)
            if version is not None:
                found.append(Interface(urljoin(at, each["url"]), version, str(each.get("tenant") or "")))
    return found


async def asked(wire: Wire, interfaces: list[Interface], value: Any, key: str) -> Any:
    """What the agent answers to a value, by the newest version that works. Raises `ComponentError`."""
    if not interfaces:
        raise wire.fails("offers no A2A over JSON-RPC in version 1.0 or 0.3 on its card")
    first, *others = interfaces
    _check_origin(wire, first)
    try:
        return await _asked(wire, first, value, key)
    except RpcError as error:
        if first.version is V0_3 or error.rpc_code not in (_METHOD_NOT_FOUND, _VERSION_NOT_SUPPORTED):
            raise
    older = next((each for each in others if each.version is V0_3), first._replace(version=V0_3))
    _check_origin(wire, older)
    return await _asked(wire, older, value, key)


def _check_origin(wire: Wire, interface: Interface) -> None:
    """A credential goes nowhere but where it was given for."""
    if wire.callee.headers and _origin(interface.url) != _origin(wire.callee.url):
        at = urlsplit(interface.url)
        raise wire.fails(
            f"is spoken to at {at.scheme}://{at.hostname}, says its card, which is another host or port than that of "
            "its URL; its credential is not sent there"
        )


def _origin(url: str) -> tuple[str, str | None, int | None]:
    try:
        parts = urlsplit(url)
        port = parts.port or {"http": 80, "https": 443}.get(parts.scheme)
    except ValueError:
        return url, None, None
    return parts.scheme, parts.hostname, port


async def _asked(wire: Wire, interface: Interface, value: Any, key: str) -> Any:
    version = interface.version
    message = version.kind | {"messageId": message_id(key), "role": version.role, "parts": [_part(value, version)]}
    configuration = version.at_once | {"historyLength": 0}
    result = await _call(wire, interface, version.send, {"message": message, "configuration": configuration})
    said, task = _read(result)
    if said is not None:
        return answer_of(said.get("parts"))
    if task is None:
        raise wire.fails("answered neither with a message nor with a task")
    return await _followed(wire, interface, task)


def _part(value: Any, version: Version) -> dict[str, Any]:
    """A text as text, anything else as data; 0.3 has only objects for that."""
    kind = "text" if isinstance(value, str) else "data"
    if version is V1:
        return {kind: value}
    if kind == "data" and not isinstance(value, dict):
        return {"kind": "text", "text": msgspec.json.encode(value).decode()}
    return {"kind": kind, kind: value}


async def _call(wire: Wire, interface: Interface, method: str, params: dict[str, Any]) -> dict[str, Any]:
    if interface.tenant:
        params = params | {"tenant": interface.tenant}
    request = {"jsonrpc": "2.0", "id": 1, "method": method, "params": params}
    answer = await wire.post(interface.url, request, interface.version.headers)
    error = answer.get("error") if isinstance(answer, dict) else None
    if isinstance(error, dict):
        raise RpcError(wire.callee.name, error.get("code"), error.get("message"))
    result = answer.get("result") if isinstance(answer, dict) else None
    if not isinstance(result, dict):
        raise wire.fails("answered with something that is no JSON-RPC response")
    return result


def _read(result: dict[str, Any]) -> tuple[dict[str, Any] | None, dict[str, Any] | None]:
    """The message or the task of an answer: 1.0 wraps it, 0.3 says its kind."""
    for name, found in (("message", (result, None)), ("task", (None, result))):
        if isinstance(result.get(name), dict):
            return (result[name], None) if name == "message" else (None, result[name])
        if result.get("kind") == name:
            return found
    return (None, result) if isinstance(result.get("status"), dict) else (None, None)


async def _followed(wire: Wire, interface: Interface, task: dict[str, Any]) -> Any:
    """The answer of a task, which is polled until it ends; whoever asks bounds the time."""
    pause, lost, id = _FIRST_POLL_SECONDS, 0, task.get("id")
    while _state(task) in _GOES_ON:
        await asyncio.sleep(pause)
        pause = min(pause * 2, _LONGEST_POLL_SECONDS)
        try:
            task = await _call(wire, interface, interface.version.get, {"id": id, "historyLength": 0})
            lost = 0
        except ComponentError as error:
            lost += 1
            is_gone = isinstance(error, RpcError) and error.rpc_code == _TASK_NOT_FOUND
            if not error.temporary or is_gone or lost >= _LOST_POLLS:
                raise
    return _ended(wire, task)


def _ended(wire: Wire, task: dict[str, Any]) -> Any:
    state, status = _state(task), task.get("status")
    said = status.get("message") if isinstance(status, dict) else None
    parts = said.get("parts") if isinstance(said, dict) else None
    if state != "completed":
        why = answer_of(parts)
        text = f": {why}" if why is not None else ""
        raise wire.fails(f"did not complete its task, which is {state}{text}")
    artifacts = task.get("artifacts")
    made = [each.get("parts") for each in artifacts if isinstance(each, dict)] if isinstance(artifacts, list) else []
    found = [part for each in made if isinstance(each, list) for part in each]
    return answer_of(found or parts)


def _state(task: dict[str, Any]) -> str:
    """In lower case with underscores, whatever the version: `completed`, `input_required`."""
    status = task.get("status")
    state = status.get("state") if isinstance(status, dict) else None
    return str(state).removeprefix("TASK_STATE_").lower().replace("-", "_")


def answer_of(parts: Any) -> Any:
    """Texts alone make one text, a line each; one piece of data is itself, several a list; a mixture, and whatever
    has files, `{"text", "data", "files"}`. Null where there is nothing."""
    texts: list[str] = []
    data: list[Any] = []
    files: list[Any] = []
    for part in parts if isinstance(parts, list) else []:
        if not isinstance(part, dict):
            continue
        if isinstance(part.get("text"), str):
            texts.append(part["text"])
        elif "data" in part:
            data.append(part["data"])
        elif "file" in part:
            files.append(part["file"])
        elif "url" in part or "raw" in part:
            files.append({name: part[name] for name in ("url", "raw", "filename", "mediaType") if name in part})
    if files or (texts and data):
        return {"text": "\n".join(texts), "data": data, "files": files}
    if data:
        return data[0] if len(data) == 1 else data
    return "\n".join(texts) if texts else None
