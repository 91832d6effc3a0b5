"""The protocol of one connection as a state machine without I/O: what comes in, to what there is to do.

Its thin adapter is `connection.py`: it does each output in order, and comes back with what only I/O could tell.

    opened, received, timed_out, expired, leave ─► Send, Close, Listen, Unlisten, ReportPosition
                                                   CheckCredentials ─► credentials_checked
                                                   CheckResource    ─► resource_checked
"""

from __future__ import annotations

from collections.abc import Callable
from enum import Enum, IntEnum
from typing import Final, NamedTuple

from executor.domain.errors import Code, Problem
from executor.domain.values import Instant
from hub.auth.principal import Principal
from hub.channels import ANY, ASSIGNEE, Key, Wish
from hub.messages import Channel
from hub.socket import replies, requests

AUTH_SECONDS: Final = 5.0


class CloseCode(IntEnum):
    """RFC 6455, section 7.4, and ours. `closing` goes before those after which a client may come back at once."""

    GOING_AWAY = 1001
    TOO_BIG = 1009
    INTERNAL = 1011
    RESTART = 1012
    TRY_LATER = 1013
    MALFORMED = 4400
    UNAUTHENTICATED = 4401
    FORBIDDEN = 4403
    AUTH_TIMEOUT = 4408
    EXPIRED = 4411


_RECONNECT: Final = frozenset({CloseCode.GOING_AWAY, CloseCode.INTERNAL, CloseCode.RESTART, CloseCode.TRY_LATER})
_PERMISSIONS: Final = {
    Channel.EXECUTION: "execution.read",
    Channel.WORKFLOW: "workflow.read",
    Channel.TASK: "task.read",
    Channel.EVENTS: "event.read",
    Channel.REPLAY: "event.read",
}


class Send(NamedTuple):
    message: bytes


class Close(NamedTuple):
    """After all that was sent before it."""

    code: int
    reason: str


class CheckCredentials(NamedTuple):
    """`request` is null where the credentials came with the handshake. The token is shown nowhere."""

    token: str
    request: requests.Authenticate | None

    def __repr__(self) -> str:
        return "CheckCredentials(…)"


class CheckResource(NamedTuple):
    """Whether the resource of the channel is there and its organization's."""

    key: Key
    request: requests.Subscribe


class Listen(NamedTuple):
    """`is_lost` says that some of what the channel had after that position was archived."""

    key: Key
    after: int
    wish: Wish
    is_lost: bool = False


class Unlisten(NamedTuple):
    key: Key


class ReportPosition(NamedTuple):
    """To be answered by `pong` with the position through which all channels were handed over."""

    reply_to: str | None


Output = Send | Close | CheckCredentials | CheckResource | Listen | Unlisten | ReportPosition
Outputs = list[Output]


class State(Enum):
    ANONYMOUS = 1
    OPEN = 2
    CLOSED = 3


class Protocol:
    """`head` in calls is the log's head at that moment. Once closed, whatever comes leads to nothing."""

    def __init__(
        self,
        connection_id: str,
        epoch: str,
        *,
        new_id: Callable[[], str],
        now: Callable[[], Instant],
        limits: replies.Limits = replies.LIMITS,
    ) -> None:
        self.state = State.ANONYMOUS
        self.principal: Principal | None = None
        self._connection_id = connection_id
        self._epoch = epoch
        self._new_id = new_id
        self._now = now
        self._limits = limits
        self._keys: set[Key] = set()

    # what comes in

    def opened(self, credentials: str | None) -> Outputs:
        """The handshake was accepted, perhaps with credentials in it."""
        return [] if credentials is None else [CheckCredentials(credentials, None)]

    def received(self, frame: str | bytes) -> Outputs:
        if self.state is State.CLOSED:
            return []
        request = requests.parse(frame)
        match request:
            case requests.Malformed(reason):
                return self._close(CloseCode.MALFORMED, reason)
            case requests.TooBig():
                return self._close(CloseCode.TOO_BIG, f"a message is at most {self._limits.message_bytes} bytes")
            case requests.Authenticate():
                return [CheckCredentials(request.token, request)]
            case requests.Refused(reply_to, problem):
                return [self._error(reply_to, problem)]
            case _ if self.principal is None:
                problem = Problem(Code.AUTHENTICATION_ERROR, "authenticate first: send 'auth' with a token")
                return [self._error(request.reply_to, problem)]
            case requests.Subscribe():
                return self._subscribe(request, self.principal)
            case requests.Unsubscribe(reply_to, channel, id):
                return self._unsubscribe(Key(self.principal.organization_id, channel, id), reply_to)
            case requests.Ping(reply_to):
                return [ReportPosition(reply_to)]

    def credentials_checked(
        self, request: requests.Authenticate | None, principal: Principal | None, head: int
    ) -> Outputs:
        if self.state is State.CLOSED:
            return []
        if principal is None:
            return self._close(CloseCode.UNAUTHENTICATED, "the credentials are not valid")
        if self.principal is not None and self.principal.organization_id != principal.organization_id:
            return self._close(CloseCode.FORBIDDEN, "these credentials are another organization's")
        self.principal, self.state = principal, State.OPEN
        welcome = replies.Welcome(self._connection_id, self._epoch, head, self._limits)
        if request is not None:
            welcome = replies.Welcome(self._connection_id, self._epoch, head, self._limits, request.reply_to)
        return [self._send(welcome), *self._withdraw_forbidden(principal)]

    def resource_checked(
        self, check: CheckResource, is_there: bool, head: int, *, is_lost: bool = False, begins: int | None = None
    ) -> Outputs:
        """Subscribes, anew where the channel was subscribed to; a refusal leaves an older subscription alone.
        `is_lost` says that some of what the channel had after `since` was archived; `begins` is the position after
        which the channel has anything, where that is not the head."""
        if self.state is State.CLOSED:
            return []
        key, request = check
        if not is_there:
            said = f"{key.channel} '{key.id}' was not found"
            return [self._error(request.reply_to, Problem(Code.RESOURCE_NOT_FOUND, said, f"{key.channel}_id"))]
        is_other_log = request.epoch is not None and request.epoch != self._epoch
        after = head if begins is None else begins
        if request.since is not None and not is_other_log:
            after = request.since
        if after > head:
            said = f"position {after} is beyond the head of the log, {head}"
            return [self._error(request.reply_to, Problem(Code.INVALID_POSITION, said, "since"))]
        outputs: Outputs = [Unlisten(key)] if key in self._keys else []
        self._keys.add(key)
        subscribed = replies.Subscribed(request.reply_to, key.name, after, head, not (is_other_log or is_lost))
        return [*outputs, self._send(subscribed), Listen(key, after, request.wish, is_lost)]

    def resource_unknown(self, check: CheckResource) -> Outputs:
        """Whether the resource is there cannot be told for now."""
        problem = Problem(Code.SERVICE_UNAVAILABLE, "the channel cannot be looked up for now; try again")
        return [] if self.state is State.CLOSED else [self._error(check.request.reply_to, problem)]

    def pong(self, reply_to: str | None, position: int) -> Outputs:
        return [] if self.state is State.CLOSED else [self._send(replies.Pong(reply_to, position))]

    def timed_out(self) -> Outputs:
        """The time for authenticating is over."""
        if self.state is not State.ANONYMOUS:
            return []
        return self._close(CloseCode.AUTH_TIMEOUT, f"not authenticated within {AUTH_SECONDS:g} seconds")

    def expired(self) -> Outputs:
        """The time of the credentials is over, unless they were renewed."""
        principal = self.principal
        if principal is None or principal.expires_at is None or principal.expires_at > self._now():
            return []
        return self._close(CloseCode.EXPIRED, "the credentials have expired")

    def revoked(self) -> Outputs:
        """The credentials were taken away."""
        return self._close(CloseCode.UNAUTHENTICATED, "the credentials were revoked")

    def lost(self) -> None:
        """The connection is gone."""
        self.state = State.CLOSED
        self._keys.clear()

    def leave(self, code: int, reason: str, retry_after_ms: int = 0) -> Outputs:
        """The server goes, and says so first."""
        if self.state is State.CLOSED:
            return []
        closing = replies.Closing(code, reason, code in _RECONNECT, retry_after_ms)
        return [self._send(closing), *self._close(code, reason)]

    # what follows

    def _subscribe(self, request: requests.Subscribe, principal: Principal) -> Outputs:
        permission = _PERMISSIONS[request.channel]
        if not principal.allows(permission):
            return [self._error(request.reply_to, _lacks(permission))]
        key = Key(principal.organization_id, request.channel, request.id)
        if key not in self._keys and len(self._keys) >= self._limits.subscriptions:
            said = f"a connection has at most {self._limits.subscriptions} subscriptions"
            return [self._error(request.reply_to, Problem(Code.RATE_LIMIT_EXCEEDED, said))]
        return [CheckResource(key, request)]

    def _unsubscribe(self, key: Key, reply_to: str | None) -> Outputs:
        outputs: Outputs = [Unlisten(key)] if key in self._keys else []
        self._keys.discard(key)
        return [*outputs, self._send(replies.Unsubscribed(reply_to, key.name))]

    def _withdraw_forbidden(self, principal: Principal) -> Outputs:
        """Renewed credentials may allow less."""
        outputs: Outputs = []
        for key in sorted(self._keys):
            permission = _PERMISSIONS[key.channel]
            if not principal.allows(permission):
                self._keys.discard(key)
                outputs += [Unlisten(key), self._error(None, _lacks(permission), key.name)]
        return outputs

    def _close(self, code: int, reason: str) -> Outputs:
        if self.state is State.CLOSED:
            return []
        self.state = State.CLOSED
        outputs: Outputs = [Unlisten(key) for key in sorted(self._keys)]
        self._keys.clear()
        return [*outputs, Close(int(code), reason)]

    def _error(self, reply_to: str | None, problem: Problem, channel: str | None = None) -> Send:
        return self._send(replies.error(reply_to, problem, channel))

    def _send(self, reply: replies.Reply) -> Send:
        return Send(replies.encode(reply, self._new_id(), self._now()))


def needs_check(key: Key) -> bool:
    """The channels of one thing; `*`, `events` and those of an assignee are the organization's by themselves."""
    return key.id != ANY and not key.id.startswith(ASSIGNEE)


def _lacks(permission: str) -> Problem:
    return Problem(Code.AUTHORIZATION_ERROR, f"this channel needs the permission '{permission}'")
