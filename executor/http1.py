"""HTTP/1.1 as it is on the wire: how a request is written, how an answer is read (RFC 9112). Connects to nothing.

What reads is llhttp, the parser of Node, by httptools. It refuses what one connection's two ends could understand
differently: a length beside chunks, two lengths, folded lines, control characters, garbage. The bounds are ours.
"""

from __future__ import annotations

import time
import zlib
from collections.abc import Mapping
from typing import Final, NamedTuple

from httptools import HttpParserError, HttpParserUpgrade, HttpResponseParser

from executor.exchange import Course, Failure, Kind

MOST_HEAD_BYTES: Final = 64 * 1024
"""Of an answer's headers, those of interim answers before it and of trailers included."""
MOST_FIELDS: Final = 256
CODINGS: Final = {"gzip": 31, "x-gzip": 31, "deflate": 47}
"""Content codings that we ask for, and zlib's `wbits` for each (47: zlib or gzip header, found out by itself)."""

_OURS: Final = frozenset({"host", "user-agent", "accept", "accept-encoding"})
_WITHOUT_BODY: Final = frozenset({"GET", "HEAD", "OPTIONS", "TRACE", "CONNECT"})
"""Methods whose request says nothing of a length where it has no body."""
_TOO_LONG = f"no proper HTTP answer: more than {MOST_HEAD_BYTES} bytes of headers"
CLOSED: Final = "the connection was closed before a complete answer came"


class Request(NamedTuple):
    """As it is written, and how much of its answer's body is wanted."""

    method: str
    head: bytes
    body: bytes | None
    max_bytes: int


def request(
    method: str, target: str, ours: Mapping[str, str], given: Mapping[str, str], body: bytes | None, max_bytes: int
) -> Request:
    """Of headers, what is `given` takes the place of `ours`; both have been checked."""
    names = {name.lower() for name in given}
    if not _OURS.isdisjoint(names):
        ours = {name: value for name, value in ours.items() if name.lower() not in names}
    lines = [f"{name}: {value}\r\n" for fields in (ours, given) for name, value in fields.items()]
    if body is not None or method not in _WITHOUT_BODY:
        lines.append(f"Content-Length: {len(body or b'')}\r\n")
    return Request(method, f"{method} {target} HTTP/1.1\r\n{''.join(lines)}\r\n".encode(), body, max_bytes)


class Incoming:
    """The answers on one connection, one after the other: `expect` each, `feed` what comes until it `is_over`."""

    __slots__ = (
        "_course",
        "_decoder",
        "_field_bytes",
        "_fields",
        "_is_interim",
        "_kept",
        "_max_bytes",
        "_method",
        "_parser",
        "_silent_bytes",
        "_until_end",
        "has_begun",
        "headers",
        "is_over",
        "is_reusable",
        "is_truncated",
        "status",
    )

    def __init__(self) -> None:
        self._parser = HttpResponseParser(self)
        # Servers that write lines and chunks like this are about, and nobody can take it for something else.
        self._parser.set_dangerous_leniencies(
            lenient_optional_cr_before_lf=True, lenient_spaces_after_chunk_size=True
        )
        self.has_begun = False

    def expect(self, request: Request, course: Course) -> None:
        """The next answer, to this. `course` is told when its headers are here."""
        self._method, self._max_bytes, self._course = request.method, request.max_bytes, course
        self._fields: list[tuple[bytes, bytes]] = []
        self._kept = bytearray()
        self._decoder: zlib._Decompress | None = None
        self._field_bytes = self._silent_bytes = self.status = 0
        self._is_interim = self._until_end = False
        self.headers: dict[str, str] = {}
        self.has_begun = self.is_over = self.is_reusable = self.is_truncated = False

    @property
    def body(self) -> bytes:
        return bytes(self._kept)

    def feed(self, data: bytes) -> None:
        """Raises `Failure` for what is no proper answer."""
        self.has_begun = True
        self._silent_bytes += len(data)
        try:
            self._parser.feed_data(data)
        except (HttpParserError, HttpParserUpgrade) as error:
            self.is_reusable = False
            if not self.is_over:
                raise _failure(error) from None
        if self._silent_bytes > MOST_HEAD_BYTES and not self.is_over:
            raise Failure(_TOO_LONG, Kind.PROTOCOL)  # A header, or what is said of a chunk, that does not end.

    def end(self) -> None:
        """No more comes. Raises `Failure` where that is no end of an answer."""
        if not self._until_end:
            raise Failure(CLOSED, Kind.PROTOCOL)
        self.is_over = True

    def on_message_begin(self) -> None:
        if self.is_over:  # Nobody asked for more than one answer: what else may be on this connection?
            raise Failure("two answers", Kind.PROTOCOL)
        self._is_interim = False
        self._fields.clear()

    def on_header(self, name: bytes, value: bytes) -> None:
        if self.is_over:
            return
        self._silent_bytes = 0
        self._fields.append((name, value))
        self._field_bytes += len(name) + len(value) + 4
        if self._field_bytes > MOST_HEAD_BYTES:
            raise Failure(_TOO_LONG, Kind.PROTOCOL)
        if len(self._fields) > MOST_FIELDS:
            raise Failure(f"no proper HTTP answer: more than {MOST_FIELDS} headers", Kind.PROTOCOL)

    def on_headers_complete(self) -> None:
        status = self._parser.get_status_code()
        if status < 100 or status == 101:
            raise Failure(f"no proper HTTP answer: a status of {status:03}", Kind.PROTOCOL)
        self._is_interim = status < 200
        if self._is_interim:
            return
        self.headers = headers = _joined(self._fields)
        chunks = headers.get("transfer-encoding")
        if chunks is not None and chunks.lower() not in ("chunked", "identity"):
            raise Failure("no proper HTTP answer: a Transfer-Encoding that was not asked for", Kind.PROTOCOL)
        self._until_end = "content-length" not in headers and (chunks is None or chunks.lower() == "identity")
        coding = headers.get("content-encoding")
        if coding is not None and (wbits := CODINGS.get(coding.strip().lower())) is not None:
            self._decoder = zlib.decompressobj(wbits)
        self.status = status
        self._course.answered = time.monotonic()
        # Such an answer has no body, whatever it says of one (RFC 9112, section 6.3). Where it ends, the parser does
        # not know: the connection is not used again.
        self.is_over = self._method == "HEAD" or (self._method == "CONNECT" and status < 300)

    def on_body(self, body: bytes) -> None:
        if self.is_over:
            return
        self._silent_bytes = 0
        room = self._max_bytes + 1 - len(self._kept)
        if self._decoder is None:
            self._kept += body[:room]
        elif not self._decoder.eof:  # zlib would collect what is behind it.
            self._kept += self._decoder.decompress(body, room)  # The budget bounds what a bomb can make.
        if len(self._kept) > self._max_bytes:
            del self._kept[self._max_bytes :]
            self.is_over = self.is_truncated = True

    def on_message_complete(self) -> None:
        if self._is_interim or self.is_over:
            return
        self.is_over, self.is_reusable = True, self._parser.should_keep_alive()


def _failure(error: Exception) -> Failure:
    """What was wrong, in our words or the parser's own, which repeat nothing of the answer."""
    cause = error.__context__
    if isinstance(cause, Failure):
        return cause
    if isinstance(cause, zlib.error):
        return Failure("the answer's compressed body is damaged", Kind.PROTOCOL)
    return Failure(f"no proper HTTP answer: {error}", Kind.PROTOCOL)


def _joined(fields: list[tuple[bytes, bytes]]) -> dict[str, str]:
    joined: dict[str, str] = {}
    for name, value in fields:
        low, text = name.decode("latin-1").lower(), value.decode("utf-8", "surrogateescape").strip(" \t")
        joined[low] = f"{joined[low]}, {text}" if low in joined else text
    return joined
