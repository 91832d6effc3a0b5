"""What one exchange over HTTP comes to: an answer, or an error of one of a few kinds, and where its time went."""

from __future__ import annotations

import time
from enum import StrEnum

from msgspec import Struct


class Kind(StrEnum):
    """Why an exchange came to no answer."""

    DNS = "dns"
    CONNECT = "connect"
    TLS = "tls"
    TIMEOUT = "timeout"
    PROTOCOL = "protocol"
    """No proper HTTP: garbage, closed before the end, a damaged body."""
    NOT_ALLOWED = "not_allowed"
    """Where it should have gone may not be reached."""
    INVALID = "invalid"
    """No request can be made of it."""
    OAUTH2 = "oauth2"
    """There was no token to be had for it."""


class Timings(Struct, frozen=True, kw_only=True):
    """Milliseconds of each phase; null where it did not happen: a connection that was kept has no `dns`, `connect`
    and `tls`. Of an exchange that failed, the last one lasted until then.

    `connect` is TCP (and what a proxy says), `wait` from the connection to the answer's headers, while the request is
    sent, `read` the answer's body.
    """

    dns: float | None = None
    connect: float | None = None
    tls: float | None = None
    wait: float | None = None
    read: float | None = None


NO_TIMINGS = Timings()


class Reply(Struct, frozen=True, kw_only=True):
    """An answer. Header names are in lower case (repeated ones joined by `, `); `body` is decoded, and `truncated`
    if it went on after `max_bytes`; `duration` is seconds from start to the end of reading."""

    status: int
    headers: dict[str, str]
    body: bytes
    truncated: bool
    duration: float
    timings: Timings = NO_TIMINGS


class EgressError(Exception):
    """A request that got no answer. Its text names no path, query, header or credential."""

    def __init__(self, message: str, kind: Kind, timings: Timings = NO_TIMINGS) -> None:
        super().__init__(message)
        self.kind = kind
        self.timings = timings


class EgressRefused(EgressError):
    """We do not send this: the address may not be reached, or it is no request. Final, unless settings change."""


class EgressTimeout(EgressError):
    """The exchange was not over in time."""


class EgressFailed(EgressError):
    """No look-up, connection, TLS session or proper HTTP answer. May work another time."""


class Refusal(OSError):
    """How a refusal passes through whatever makes sockets, which lets only OSErrors through."""


class Failure(Exception):
    """Why an exchange comes to no answer, below `Egress`. Its text is shown: nothing of the request is in it."""

    def __init__(self, message: str, kind: Kind) -> None:
        super().__init__(message)
        self.kind = kind


class Course:
    """How far one exchange has come: moments of the monotonic clock, 0 for what has not happened."""

    __slots__ = ("answered", "asked", "connected", "found", "opened", "started", "tls")

    def __init__(self) -> None:
        self.started = time.monotonic()
        self.asked = self.found = self.opened = self.tls = self.connected = self.answered = 0.0

    def timings(self, now: float) -> Timings:
        return Timings(
            dns=_ms(self.asked, self.found or now),
            connect=_ms(self.opened, self.tls or self.connected or now),
            tls=_ms(self.tls, self.connected or now),
            wait=_ms(self.connected, self.answered or now),
            read=_ms(self.answered, now),
        )

    def phase(self) -> str:
        """What was being done, for people."""
        if self.answered:
            return "reading the answer"
        if self.connected:
            return "waiting for the answer"
        if self.tls:
            return "agreeing on TLS"
        return "looking the name up" if self.asked and not self.found else "connecting"


def _ms(since: float, until: float) -> float | None:
    return round((until - since) * 1000, 2) if since else None
