"""The protocol of one connection as a state machine without I/O: what comes in, to what there is to do.

Its thin adapter is `connection.py`: it does each output in order, and comes back with what only I/O could tell.

    opened, received, timed_out, expired, leave ─► Send, Close, Listen, Unlisten, ReportPosition
                                                   CheckCredentials ─► credentials_checked
                                                   CheckResource    ─► resource_checked
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Sequence
from enum import Enum
from typing import Final

from executor.domain.errors import Code, Problem
from executor.domain.values import Instant
from hub.auth.principal import Principal
from hub.channels import PERMISSIONS, Key
from hub.socket import replies, requests
from hub.socket.codes import RECONNECT, CloseCode
from hub.socket.limits import FILTER_TOKENS, Bucket, Holding, Quotas
from hub.socket.outputs import (
    CheckCredentials,
    CheckResource,
    Close,
    Listen,
    Outputs,
    ReportPosition,
    Send,
    Unlisten,
)
from hub.wishes import Wrong, require_filter

AUTH_SECONDS: Final = 5.0


class State(Enum):
    ANONYMOUS = 1
    OPEN = 2
    CLOSED = 3


class Protocol:
    """`head` in calls is the log's head at that moment. Once closed, whatever comes leads to nothing."""

    __slots__ = (
        "_bucket",
        "_connection_id",
        "_epoch",
        "_holding",
        "_limits",
        "_new_id",
        "_now",
        "_quotas",
        "_seconds",
        "principal",
        "state",
    )

    def __init__(
        self,
        connection_id: str,
        epoch: str,
        *,
        new_id: Callable[[], str],
        now: Callable[[], Instant],
        quotas: Quotas | None = None,
        seconds: Callable[[], float] = time.monotonic,
    ) -> None:
        self.state = State.ANONYMOUS
        self.principal: Principal | None = None
        self._connection_id = connection_id
        self._epoch = epoch
        self._new_id = new_id
        self._now = now
        self._quotas = quotas or Quotas()
        self._limits = limits = self._quotas.limits
        self._bucket = Bucket(limits.messages_per_second, limits.message_burst)
        self._seconds = seconds
        self._holding: Holding | None = None

    # what comes in

    def opened(self, credentials: str | None) -> Outputs:
        """The handshake was accepted, perhaps with credentials in it."""
        return [] if credentials is None else [CheckCredentials(credentials, None)]

    def received(self, frame: str | bytes) -> Outputs:
        if self.state is State.CLOSED:
            return []
        request, wait = requests.parse(frame), self._bucket.take(self._seconds())
        if wait and not isinstance(request, requests.Malformed | requests.TooBig):
            return self._slowed(request, wait)
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
            case requests.Several(_, several):
                return [output for each in several for output in self._about_channel(each, self.principal)]
            case requests.Ping(reply_to):
                return [ReportPosition(reply_to)]
            case _:
                return self._about_channel(request, self.principal)

    def credentials_checked(
        self, request: requests.Authenticate | None, principal: Principal | None, head: int
    ) -> Outputs:
        if self.state is State.CLOSED:
            return []
        if principal is None:
            return self._close(CloseCode.UNAUTHENTICATED, "the credentials are not valid")
        if self.principal is not None and self.principal.organization_id != principal.organization_id:
            return self._close(CloseCode.FORBIDDEN, "these credentials are another organization's")
        if self._holding is None:
            self._holding = self._quotas.admit(principal.organization_id)
            if self._holding is None:
                said = f"the organization has {self._limits.connections} connections here already"
                return self._close(CloseCode.TOO_MANY, said)
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
            return [self._refuse(request, Problem(Code.RESOURCE_NOT_FOUND, said, f"{key.channel}_id"))]
        is_other_log = request.epoch is not None and request.epoch != self._epoch
        after = head if begins is None else begins
        if request.since is not None and not is_other_log:
            after = request.since
        if after > head:
            said = f"position {after} is beyond the head of the log, {head}"
            return [self._refuse(request, Problem(Code.INVALID_POSITION, said, "since"))]
        condition, holding = request.wish.condition, self._holding
        if holding is None:
            return []
        if (problem := holding.refusal(key, condition)) is not None:
            return [self._refuse(request, problem)]
        outputs: Outputs = [Unlisten(key)] if key in holding else []
        holding.add(key, condition)
        subscribed = replies.Subscribed(request.reply_to, key.name, after, head, not (is_other_log or is_lost))
        return [*outputs, self._send(subscribed), Listen(key, after, request.wish, is_lost)]

    def resource_unknown(self, check: CheckResource) -> Outputs:
        """Whether the resource is there cannot be told for now."""
        problem = Problem(Code.SERVICE_UNAVAILABLE, "the channel cannot be looked up for now; try again")
        return [] if self.state is State.CLOSED else [self._refuse(check.request, problem)]

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
        return self.leave(CloseCode.EXPIRED, "the credentials have expired")

    def too_far_behind(self, position: int) -> Outputs:
        """The client reads more slowly than it may, by the limit of `lag`; it was sent everything through this."""
        return self.leave(CloseCode.TOO_FAR_BEHIND, f"too far behind: sent through position {position}")

    def revoked(self) -> Outputs:
        """The credentials were taken away."""
        return self._close(CloseCode.UNAUTHENTICATED, "the credentials were revoked")

    def lost(self) -> None:
        """The connection is gone."""
        self.state = State.CLOSED
        if self._holding is not None:
            self._holding.close()

    def leave(self, code: int, reason: str, retry_after_ms: int = 0) -> Outputs:
        """The server goes, and says so first."""
        if self.state is State.CLOSED:
            return []
        closing = replies.Closing(code, reason, code in RECONNECT, retry_after_ms)
        return [self._send(closing), *self._close(code, reason)]

    # what follows

    def _about_channel(
        self, request: requests.Subscribe | requests.Unsubscribe | requests.Refused, principal: Principal
    ) -> Outputs:
        match request:
            case requests.Subscribe():
                return self._subscribe(request, principal)
            case requests.Unsubscribe(reply_to, channel, id):
                return self._unsubscribe(Key(principal.organization_id, channel, id), reply_to)
            case requests.Refused(reply_to, problem):
                return [self._error(reply_to, problem)]

    def _subscribe(self, request: requests.Subscribe, principal: Principal) -> Outputs:
        permission = PERMISSIONS[request.channel]
        if not principal.allows(permission):
            return [self._refuse(request, _lacks(permission))]
        key = Key(principal.organization_id, request.channel, request.id)
        condition, holding = request.wish.condition, self._holding
        problem = None if holding is None else holding.refusal(key, condition)
        if problem is None and condition is not None and holding is not None and not holding.knows(condition):
            problem = self._fault_of(condition)
        return [CheckResource(key, request)] if problem is None else [self._refuse(request, problem)]

    def _fault_of(self, condition: str) -> Problem | None:
        """What is wrong with a filter; to find out costs time, and so tokens."""
        self._bucket.spend(FILTER_TOKENS)
        try:
            require_filter(condition)
        except Wrong as wrong:
            return wrong.problem
        return None

    def _unsubscribe(self, key: Key, reply_to: str | None) -> Outputs:
        outputs: Outputs = [Unlisten(key)] if self._holding is not None and key in self._holding else []
        self._drop(key)
        return [*outputs, self._send(replies.Unsubscribed(reply_to, key.name))]

    def _withdraw_forbidden(self, principal: Principal) -> Outputs:
        """Renewed credentials may allow less."""
        outputs: Outputs = []
        for key in self._held:
            permission = PERMISSIONS[key.channel]
            if not principal.allows(permission):
                self._drop(key)
                outputs += [Unlisten(key), self._error(None, _lacks(permission), key.name)]
        return outputs

    def _close(self, code: int, reason: str) -> Outputs:
        if self.state is State.CLOSED:
            return []
        self.state = State.CLOSED
        outputs: Outputs = [Unlisten(key) for key in self._held]
        if self._holding is not None:
            self._holding.clear()
        return [*outputs, Close(int(code), reason)]

    @property
    def _held(self) -> Sequence[Key]:
        return () if self._holding is None else tuple(self._holding)

    def _drop(self, key: Key) -> None:
        if self._holding is not None:
            self._holding.remove(key)

    def _slowed(self, request: requests.Request, wait: float) -> Outputs:
        """There were too many messages: this one is refused, and who goes on all the same is closed."""
        if self._bucket.is_spent:
            return self.leave(CloseCode.TOO_MANY, "too many messages", math.ceil(wait * 1000))
        reply_to = getattr(request, "reply_to", None)
        return [self._send(replies.too_many(reply_to, wait, self._limits.messages_per_second))]

    def _refuse(self, request: requests.Subscribe, problem: Problem) -> Send:
        return self._error(request.reply_to, requests.within(request.at, problem))

    def _error(self, reply_to: str | None, problem: Problem, channel: str | None = None) -> Send:
        return self._send(replies.error(reply_to, problem, channel))

    def _send(self, reply: replies.Reply) -> Send:
        return Send(replies.encode(reply, self._new_id(), self._now()))


def _lacks(permission: str) -> Problem:
    return Problem(Code.AUTHORIZATION_ERROR, f"this channel needs the permission '{permission}'")
