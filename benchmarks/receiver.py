"""Thousands of subscribers in one process: raw sockets behind epoll that count what comes. Obeys orders, one JSON
object a line on standard input; answers on standard output, with `failed` where something went wrong.

A client that parses what it gets is slower than what is measured. So frames are counted by their headers, and times
are read out of the messages of some connections only.
"""

from __future__ import annotations

import json
import resource
import select
import socket
import sys
import time
from collections.abc import Callable
from typing import Any, Final

import frames
from frames import ROOM, ClosedByServer, Frames
from payload import MARK, STAMP, now, times

CHUNK: Final = 256 * 1024
AT_ONCE: Final = 256
"""Handshakes that are under way together."""
Answer = dict[str, Any]


class Failed(Exception):
    """Says what, in the answer."""


class Client:
    """One connection. `kept` are the bytes that came, where they are to be looked at later."""

    __slots__ = ("frames", "greeting", "is_done", "is_sampled", "kept", "recv_into", "sock", "state", "text")

    def __init__(self, sock: socket.socket, greeting: bytes) -> None:
        self.sock, self.greeting, self.recv_into = sock, greeting, sock.recv_into
        self.frames, self.state, self.text = Frames(), "connecting", b""
        self.is_done = self.is_sampled = False
        self.kept: bytearray | None = None


class Receiver:
    def __init__(self) -> None:
        self._epoll = select.epoll()
        self._epoll.register(0, select.EPOLLIN)
        self._clients: dict[int, Client] = {}
        self._buffer = bytearray(ROOM + CHUNK)
        self._view = memoryview(self._buffer)[ROOM:]
        self._goal: tuple[str, int] = ("count", 1 << 60)
        self._waiting = self._ready = self._ended = 0
        self._is_asked, self._sample, self._keeps = False, 0, False
        self._request = self._needle = self._refusal = b""
        self._waits: list[tuple[int, int]] = []

    def run(self) -> None:
        orders: dict[str, Callable[..., Answer]] = {
            each.__name__: each for each in (self.connect, self.close, self.expect, self.wait, self.positions)
        }
        while True:
            self._until(lambda: self._is_asked, 1 << 30)
            self._is_asked = False
            if not (line := sys.stdin.buffer.readline()):
                return
            order = json.loads(line)
            try:
                answer = orders[order.pop("do")](**order)
            except (Failed, ClosedByServer, OSError) as error:
                answer = {"failed": f"{type(error).__name__}: {error}"}
            sys.stdout.write(json.dumps(answer) + "\n")
            sys.stdout.flush()

    def connect(
        self, port: int, count: int, request: str, hellos: list[str], ready: str, refusal: str, binary: bool
    ) -> Answer:
        """So many more connections; the last is ready when its subscription was confirmed."""
        self._request, self._needle, self._refusal = request.encode(), ready.encode(), refusal.encode()
        self._ready, began, opened = 0, time.monotonic(), 0
        while self._ready < count:
            while opened < count and opened - self._ready < AT_ONCE:
                self._open(port, frames.hello(hellos[opened % len(hellos)], binary))
                opened += 1
            before = self._ready
            self._until(lambda before=before: self._ready > before, 30)
        return {"took": time.monotonic() - began}

    def close(self) -> Answer:
        """All at once, without a word to the server."""
        for client in self._clients.values():
            client.sock.close()
        self._clients.clear()
        return {}

    def expect(self, unit: str, amount: int, sample: int = 0, keeps: bool = False) -> Answer:
        """From now on counts anew, to so much (`count` of frames, or bytes of `payload`) on each connection, also on
        those that come later. Of one in `sample` the times are read; what they get is kept if this `keeps` it."""
        self._goal, self._sample, self._keeps = (unit, amount), sample, keeps
        self._waits, self._waiting, self._ended = [], 0, 0
        for number, client in enumerate(self._clients.values()):
            self._prepare(client, number)
        return {}

    def wait(self, seconds: float) -> Answer:
        """Until every connection has got what was expected. Nothing more may come then."""
        self._until(lambda: self._waiting == 0, seconds)
        unit, amount = self._goal
        if any(getattr(client.frames, unit) != amount for client in self._clients.values()):
            raise Failed("some connections got more than was sent")
        ended = sorted(due for due, _ in self._waits), sorted(called for _, called in self._waits)
        return {"ended": self._ended, "since_due": ended[0], "since_call": ended[1]}

    def positions(self) -> Answer:
        """Of the messages that each connection got since `expect`."""
        streams = (frames.payloads(bytes(client.kept or b"")) for client in self._clients.values())
        return {"positions": [[json.loads(text)["position"] for text in stream] for stream in streams]}

    def _prepare(self, client: Client, number: int) -> None:
        client.frames.count = client.frames.payload = 0
        client.is_done = False
        client.is_sampled = self._sample > 0 and number % self._sample == 0
        client.kept = bytearray() if self._keeps else None
        self._waiting += 1

    def _open(self, port: int, greeting: bytes) -> None:
        sock = socket.socket()
        sock.setblocking(False)
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        sock.connect_ex(("127.0.0.1", port))
        client = self._clients[sock.fileno()] = Client(sock, greeting)
        self._prepare(client, len(self._clients))
        self._epoll.register(sock, select.EPOLLOUT)

    def _until(self, holds: Callable[[], bool], seconds: float) -> None:
        deadline = time.monotonic() + seconds
        while not holds():
            self._pump()
            if time.monotonic() > deadline:
                raise Failed(f"after {seconds:.0f} s {self._waiting} of {len(self._clients)} connections wait")

    def _pump(self) -> None:
        """What has come, on whatever connection."""
        clients, buffer, view, (unit, goal) = self._clients, self._buffer, self._view, self._goal
        by_count = unit == "count"
        for fd, _ in self._epoll.poll(1.0, 1024):
            if fd == 0:
                self._is_asked = True
                continue
            client = clients[fd]
            if client.state != "live":
                self._greet(client)
                continue
            read = client.recv_into(view)
            if not read:
                raise Failed("a connection was closed by the server")
            got = client.frames
            if pings := got.take(buffer, ROOM + read):
                client.sock.send(b"".join(map(frames.pong, pings)))
            if client.is_sampled:
                self._read_times(read)
            if client.kept is not None:
                client.kept += view[:read]
            if not client.is_done and (got.count if by_count else got.payload) >= goal:
                self._may_be_done(client)

    def _may_be_done(self, client: Client) -> None:
        if client.frames.left == 0:
            client.is_done = True
            self._waiting -= 1
            if self._waiting == 0:
                self._ended = now()

    def _greet(self, client: Client) -> None:
        """The next step of a handshake."""
        if client.state == "connecting":
            client.sock.send(self._request)
            client.state = "upgrading"
            self._epoll.modify(client.sock, select.EPOLLIN)
            return
        read = client.sock.recv(CHUNK)
        client.text += read
        if not read or self._refusal in client.text:
            raise Failed(f"refused: {client.text[-300:]!r}")
        if client.state == "upgrading" and b"\r\n\r\n" in client.text:
            if b" 101 " not in client.text[:20]:
                raise Failed(f"no upgrade: {client.text[:300]!r}")
            client.text = client.text.partition(b"\r\n\r\n")[2]
            client.sock.send(client.greeting)
            client.state = "subscribing"
        if client.state == "subscribing":
            self._subscribed(client)

    def _subscribed(self, client: Client) -> None:
        """Whether the confirmation is among what came; what stands behind its frame counts already."""
        before, found, _ = client.text.partition(self._needle)
        if not found:
            return
        end = 0
        for start, stop in frames.spans(client.text):
            end = stop
            if start <= len(before) < stop:
                break
        if end > len(client.text):
            return
        rest, client.text, client.state = client.text[end:], b"", "live"
        self._buffer[ROOM : ROOM + len(rest)] = rest
        client.frames.take(self._buffer, ROOM + len(rest))
        if client.kept is not None:
            client.kept += rest
        self._ready += 1
        unit, goal = self._goal
        if getattr(client.frames, unit) >= goal:
            self._may_be_done(client)

    def _read_times(self, read: int) -> None:
        """How long each whole message of the chunk took; one that two chunks share does not count."""
        moment, buffer, end = now(), self._buffer, ROOM + read
        at = buffer.find(MARK, ROOM, end)
        while 0 <= at <= end - STAMP:
            due, called = times(buffer, at)
            self._waits.append((moment - due, moment - called))
            at = buffer.find(MARK, at + STAMP, end)


if __name__ == "__main__":
    allowed = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    resource.setrlimit(resource.RLIMIT_NOFILE, (allowed, allowed))
    Receiver().run()
