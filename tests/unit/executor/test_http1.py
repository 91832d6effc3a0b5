"""Answers as bytes, cut wherever they can be cut, and bytes that are no answers."""

from __future__ import annotations

import contextlib
import gzip
from collections.abc import Iterable
from typing import NamedTuple

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from executor.exchange import Course, Failure, Kind
from executor.http1 import MOST_FIELDS, MOST_HEAD_BYTES, Incoming, request

OK = b"HTTP/1.1 200 OK\r\n"
CHUNKED = OK + b"Transfer-Encoding: chunked\r\n\r\n"


class Read(NamedTuple):
    """What came of it: null where it does not end."""

    status: int
    headers: dict[str, str]
    body: bytes
    is_reusable: bool
    is_truncated: bool = False


def read(pieces: Iterable[bytes], *, method: str = "GET", max_bytes: int = 1000, ends: bool = False) -> Read | None:
    incoming = Incoming()
    incoming.expect(request(method, "/", {}, {}, None, max_bytes), Course())
    for piece in pieces:
        incoming.feed(piece)
        if incoming.is_over:
            break
    if ends and not incoming.is_over:
        incoming.end()
    if not incoming.is_over:
        return None
    return Read(incoming.status, incoming.headers, incoming.body, incoming.is_reusable, incoming.is_truncated)


ANSWERS: dict[str, tuple[bytes, Read]] = {
    "with a length": (
        OK + b"X-One: 1\r\nContent-Length: 5\r\n\r\nhello",
        Read(200, {"x-one": "1", "content-length": "5"}, b"hello", True),
    ),
    "chunked": (
        CHUNKED + b"5;a=b\r\nhello\r\n1\r\n!\r\n0\r\nX-Trailer: t\r\n\r\n",
        Read(200, {"transfer-encoding": "chunked"}, b"hello!", True),
    ),
    "empty": (b"HTTP/1.1 204 No Content\r\n\r\n", Read(204, {}, b"", True)),
    "not modified, with the length of what was not": (
        b"HTTP/1.1 304 Not Modified\r\nContent-Length: 9\r\n\r\n",
        Read(304, {"content-length": "9"}, b"", True),
    ),
    "after two that are interim": (
        b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 103 Early Hints\r\nLink: x\r\n\r\n"
        + OK
        + b"Content-Length: 1\r\n\r\nx",
        Read(200, {"content-length": "1"}, b"x", True),
    ),
    "the last one": (
        OK + b"Connection: close\r\nContent-Length: 1\r\n\r\nx",
        Read(200, {"connection": "close", "content-length": "1"}, b"x", False),
    ),
    "of HTTP/1.0": (
        b"HTTP/1.0 200 OK\r\nContent-Length: 1\r\n\r\nx",
        Read(200, {"content-length": "1"}, b"x", False),
    ),
    "of HTTP/1.0 that stays": (
        b"HTTP/1.0 200 OK\r\nConnection: keep-alive\r\nContent-Length: 1\r\n\r\nx",
        Read(200, {"connection": "keep-alive", "content-length": "1"}, b"x", True),
    ),
    "in lines without CR": (
        b"HTTP/1.1 200 OK\nX-One: 1\nContent-Length: 1\n\nx",
        Read(200, {"x-one": "1", "content-length": "1"}, b"x", True),
    ),
    "without a reason": (
        b"HTTP/1.1 599\r\nContent-Length: 0\r\n\r\n",
        Read(599, {"content-length": "0"}, b"", True),
    ),
    "with headers that come twice and have blanks around": (
        OK + b"A: 1 \t\r\nContent-Length: 0\r\na:\t2\r\n\r\n",
        Read(200, {"a": "1, 2", "content-length": "0"}, b"", True),
    ),
    "that would rather speak HTTP/2": (
        OK + b"Upgrade: h2c\r\nConnection: Upgrade\r\nContent-Length: 1\r\n\r\nx",
        Read(200, {"upgrade": "h2c", "connection": "Upgrade", "content-length": "1"}, b"x", True),
    ),
    "with a text that is not ASCII": (
        OK + "X: ü\r\nContent-Length: 0\r\n\r\n".encode(),
        Read(200, {"x": "ü", "content-length": "0"}, b"", True),
    ),
}


@pytest.mark.parametrize(("sent", "expected"), ANSWERS.values(), ids=ANSWERS)
def test_an_answer_is_the_same_wherever_it_is_cut(sent: bytes, expected: Read) -> None:
    assert read([sent]) == expected
    assert read([sent[at : at + 1] for at in range(len(sent))]) == expected
    for cut in range(1, len(sent)):
        assert read([sent[:cut]]) is None
        assert read([sent[:cut], sent[cut:]]) == expected
        with pytest.raises(Failure, match="closed before a complete answer"):
            read([sent[:cut]], ends=True)


@pytest.mark.parametrize("head", [OK, b"HTTP/1.0 200\r\n", OK + b"Connection: keep-alive\r\n"])
def test_without_a_length_the_end_is_where_the_connection_ends(head: bytes) -> None:
    sent = head + b"\r\nabc"
    assert read([sent]) is None
    ended = read([sent[at : at + 1] for at in range(len(sent))], ends=True)
    assert ended is not None
    assert (ended.body, ended.is_reusable) == (b"abc", False)
    assert read([head], ends=False) is None
    with pytest.raises(Failure):
        read([head], ends=True)


@pytest.mark.parametrize(
    "more", [b"x", b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n", b"HTTP/1.1", b"\x00", b"HTTP/1.1 101 Go\r\n\r\n"]
)
@pytest.mark.parametrize("head", [OK, OK + b"Connection: close\r\n", b"HTTP/1.0 200 OK\r\n"])
def test_what_follows_an_answer_ends_the_connection_and_is_not_taken_into_it(head: bytes, more: bytes) -> None:
    whole = read([head + b"A: 1\r\nContent-Length: 2\r\n\r\nab" + more])
    assert whole is not None
    assert (whole.status, whole.body, whole.is_reusable) == (200, b"ab", False)
    assert whole.headers["content-length"] == "2"


@pytest.mark.parametrize(
    "fields", [b"Content-Length: 5\r\n", b"Transfer-Encoding: chunked\r\n", b""], ids=["length", "chunks", "neither"]
)
@pytest.mark.parametrize("more", [b"", b"5\r\nhello\r\n0\r\n\r\n"])
def test_the_answer_to_head_ends_with_its_headers_and_so_does_the_connection(fields: bytes, more: bytes) -> None:
    answer = read([OK + fields + b"\r\n" + more], method="HEAD")
    assert answer is not None
    assert (answer.body, answer.is_reusable) == (b"", False)


@pytest.mark.parametrize("size", range(6))
@pytest.mark.parametrize("form", ["length", "chunks", "end", "gzip"])
def test_no_more_is_kept_than_was_asked_for(form: str, size: int) -> None:
    sent = {
        "length": OK + b"Content-Length: 5\r\n\r\nhello",
        "chunks": CHUNKED + b"2\r\nhe\r\n3\r\nllo\r\n0\r\n\r\n",
        "end": OK + b"\r\nhello",
        "gzip": OK + b"Content-Encoding: gzip\r\n\r\n" + gzip.compress(b"hello"),
    }[form]
    for pieces in ([sent], [sent[at : at + 1] for at in range(len(sent))]):
        answer = read(pieces, max_bytes=size, ends=True)
        assert answer is not None
        assert (answer.body, answer.is_truncated) == (b"hello"[:size], size < 5)
        assert not (answer.is_truncated and answer.is_reusable)


REFUSED: dict[str, bytes] = {
    "a length and chunks": OK + b"Content-Length: 3\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
    "chunks and a length": OK + b"Transfer-Encoding: chunked\r\nContent-Length: 3\r\n\r\n0\r\n\r\n",
    "two lengths": OK + b"Content-Length: 3\r\nContent-Length: 3\r\n\r\nabc",
    "a list of lengths": OK + b"Content-Length: 3, 3\r\n\r\nabc",
    "a length with a sign": OK + b"Content-Length: +3\r\n\r\nabc",
    "a negative length": OK + b"Content-Length: -3\r\n\r\nabc",
    "a length beyond all": OK + b"Content-Length: 99999999999999999999\r\n\r\nabc",
    "a coding that was not asked for": OK + b"Transfer-Encoding: gzip\r\n\r\nabc",
    "a coding below the chunks": OK + b"Transfer-Encoding: gzip, chunked\r\n\r\n0\r\n\r\n",
    "chunks twice": OK + b"Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
    "a folded line": OK + b"A: b\r\n c\r\nContent-Length: 0\r\n\r\n",
    "a blank before the colon": OK + b"A : b\r\nContent-Length: 0\r\n\r\n",
    "no colon": OK + b"A\r\nContent-Length: 0\r\n\r\n",
    "a null": OK + b"A: b\x00\r\nContent-Length: 0\r\n\r\n",
    "a control character": OK + b"A: b\x01\r\nContent-Length: 0\r\n\r\n",
    "no size of a chunk": CHUNKED + b"\r\nabc",
    "a negative chunk": CHUNKED + b"-1\r\nabc",
    "a size with 0x": CHUNKED + b"0x1\r\na\r\n0\r\n\r\n",
    "a chunk beyond all": CHUNKED + b"fffffffffffffffff\r\nabc",
    "a chunk longer than its size": CHUNKED + b"1\r\nabc\r\n0\r\n\r\n",
    "another protocol": b"SSH-2.0-OpenSSH_9.6\r\n",
    "another protocol that numbers": b"220 mail.example ESMTP\r\n",
    "TLS": b"\x15\x03\x01\x00\x02\x02\x46",
    "a status below all": b"HTTP/1.1 099 No\r\n\r\n",
    "no status": b"HTTP/1.1 OK\r\n\r\n",
    "a protocol that nobody asked for": b"HTTP/1.1 101 Go\r\nUpgrade: x\r\nConnection: Upgrade\r\n\r\n",
    "another protocol without saying which": b"HTTP/1.1 101 Go\r\n\r\n",
    "damage": OK + b"Content-Encoding: gzip\r\nContent-Length: 3\r\n\r\nabc",
}


@pytest.mark.parametrize("sent", REFUSED.values(), ids=REFUSED)
def test_what_could_be_understood_in_two_ways_is_refused_wherever_it_is_cut(sent: bytes) -> None:
    for pieces in ([sent], [sent[at : at + 1] for at in range(len(sent))]):
        with pytest.raises(Failure) as caught:
            read(pieces, ends=True)
        assert caught.value.kind is Kind.PROTOCOL


def test_nothing_of_a_bad_answer_is_repeated() -> None:
    with pytest.raises(Failure, match="no proper HTTP answer: Invalid header value char") as caught:
        read([OK + b"Set-Cookie: hunter2\x00\r\n\r\n"])
    assert "hunter2" not in str(caught.value)


ENDLESS: dict[str, tuple[bytes, bytes]] = {
    "a name": (OK, b"a"),
    "a value": (OK + b"a: ", b"b"),
    "fields": (OK, b"a: b\r\n"),
    "fields without a value": (OK, b"a:\r\n"),
    "a reason": (b"HTTP/1.1 200 ", b"a"),
    "interim answers": (b"", b"HTTP/1.1 103 Early Hints\r\nLink: x\r\n\r\n"),
    "interim answers that say nothing": (b"", b"HTTP/1.1 100\r\n\r\n"),
    "empty lines": (b"", b"\r\n"),
    "what is said of a chunk": (CHUNKED + b"1;", b"a"),
    "trailers": (CHUNKED + b"0\r\n", b"a: b\r\n"),
    "a trailer": (CHUNKED + b"0\r\na: ", b"b"),
}


@pytest.mark.parametrize("size", [1, 1000, 200_000])
@pytest.mark.parametrize(("first", "again"), ENDLESS.values(), ids=ENDLESS)
def test_what_has_no_end_is_bounded(first: bytes, again: bytes, size: int) -> None:
    times = max(1, size // len(again))
    pieces = [again * times] * ((600_000 + MOST_HEAD_BYTES) // (len(again) * times))
    with pytest.raises(Failure, match="more than"):
        read([first or b"\r\n", *pieces])


def test_as_many_headers_as_are_allowed_are_read() -> None:
    fields = b"".join(b"a%d: b\r\n" % number for number in range(MOST_FIELDS - 1))
    long = b"long: " + b"c" * 60_000 + b"\r\n"
    for head in (OK + fields + b"Content-Length: 0\r\n\r\n", OK + long + b"Content-Length: 0\r\n\r\n"):
        assert read([head]) == read([head[at : at + 7] for at in range(0, len(head), 7)]) != None  # noqa: E711
    with pytest.raises(Failure, match=f"more than {MOST_FIELDS} headers"):
        read([OK + b"z: z\r\n" + fields + b"Content-Length: 0\r\n\r\n"])


def test_behind_the_end_of_what_was_compressed_nothing_is_collected() -> None:
    incoming = Incoming()
    incoming.expect(request("GET", "/", {}, {}, None, 1000), Course())
    incoming.feed(OK + b"Content-Encoding: gzip\r\n\r\n" + gzip.compress(b"hello"))
    for _ in range(100):
        incoming.feed(bytes(10_000))
    incoming.end()
    assert incoming._decoder is not None
    assert len(incoming._decoder.unused_data) == 0
    assert incoming.body == b"hello"


PARTS = st.sampled_from(
    [
        *(OK, b"HTTP/1.1 100 C\r\n", b"HTTP/1.0 204\n", b"HTTP/1.1 ", b"\r\n", b"\n", b"\r", b" ", b":", b"\x00"),
        *(b"Content-Length: 3\r\n", b"Transfer-Encoding: chunked\r\n", b"Connection: close\r\n", b"3\r\nabc\r\n"),
        *(b"Content-Encoding: gzip\r\n", b"Content-Encoding: deflate\r\n", gzip.compress(b"x"), b"0\r\n\r\n", b"abc"),
    ]
)


@settings(max_examples=300, deadline=None)
@given(
    st.lists(st.one_of(PARTS, st.binary(max_size=20)), max_size=20),
    st.integers(1, 50),
    st.sampled_from(["GET", "HEAD", "POST", "CONNECT"]),
    st.integers(0, 10),
    st.booleans(),
)
@example([OK, b"\r\n", b"abc"], 1, "GET", 0, True)
def test_any_bytes_are_an_answer_or_a_failure(
    parts: list[bytes], size: int, method: str, max_bytes: int, ends: bool
) -> None:
    sent = b"".join(parts)
    pieces = [sent[at : at + size] for at in range(0, len(sent), size)]
    with contextlib.suppress(Failure):
        answer = read(pieces, method=method, max_bytes=max_bytes, ends=ends)
        assert answer is None or (100 <= answer.status <= 999 and len(answer.body) <= max_bytes)


def test_a_request_says_where_it_ends_and_what_is_given_goes_before_what_is_ours() -> None:
    ours = {"Host": "there.example", "User-Agent": "Runcast"}
    assert request("GET", "/a?b", ours, {}, None, 1).head == (
        b"GET /a?b HTTP/1.1\r\nHost: there.example\r\nUser-Agent: Runcast\r\n\r\n"
    )
    assert request("POST", "/", ours, {"user-agent": "Other"}, b"abc", 1).head == (
        b"POST / HTTP/1.1\r\nHost: there.example\r\nuser-agent: Other\r\nContent-Length: 3\r\n\r\n"
    )
    for method in ("POST", "PUT", "PATCH", "DELETE"):
        assert request(method, "/", {}, {}, None, 1).head.endswith(b"Content-Length: 0\r\n\r\n")
    assert b"Content-Length: 0" in request("GET", "/", {}, {}, b"", 1).head
