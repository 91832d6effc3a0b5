"""Clients that keep what they hear of some channels, and treat their connections badly."""

from __future__ import annotations

import asyncio
import json
import random
import socket
from bisect import bisect_right
from collections.abc import Sequence
from contextlib import AsyncExitStack
from enum import Enum
from typing import Any, Final, NamedTuple

from websockets.asyncio.client import ClientConnection
from websockets.exceptions import ConnectionClosed

from executor.domain.values import plus
from hub.channels import ANY, Key
from hub.messages import Channel
from tests.unit.hub.socket.casting import EXECUTION, OTHER_EXECUTION, WORKFLOW, key
from tests.unit.hub.socket.serving import TOKEN, Hub, principal

END: Final = (b"the end of one", b"the end of all")


class Followed(NamedTuple):
    """A channel, what a subscription to it says, and what its last message has."""

    key: Key
    said: dict[str, Any]
    end: bytes


CHANNELS: Final = (
    Followed(key(), {"channel": "execution", "execution_id": EXECUTION}, END[0]),
    Followed(key(id=OTHER_EXECUTION), {"channel": "execution", "execution_id": OTHER_EXECUTION}, END[1]),
    Followed(key(id=ANY), {"channel": "execution", "execution_id": ANY}, END[1]),
    Followed(key(Channel.WORKFLOW, WORKFLOW), {"channel": "workflow", "workflow_id": WORKFLOW}, END[1]),
    Followed(key(Channel.EVENTS, ANY), {"channel": "events"}, END[1]),
)


class Heard(NamedTuple):
    """What came after a `subscribed`, until the next one or a cut. `since` is never beyond what came before."""

    since: int
    frames: list[bytes]


class Habit(Enum):
    BREAKS_OFF = 1
    CHANGES_ITS_MIND = 2
    READS_SLOWLY = 3
    EXPIRES = 4
    RENEWS = 5


class Follower:
    """Follows some channels from the beginning of the log to their ends, over as many connections as it takes."""

    def __init__(self, hub: Hub, habit: Habit, number: int) -> None:
        self._hub, self._habit, self._number = hub, habit, number
        self._chance = random.Random(number)
        self.followed = self._chance.sample(
            [self._chance.choice(CHANNELS[:3]), *CHANNELS[3:]], self._chance.randrange(1, 4)
        )
        self.heard: dict[Channel, list[Heard]] = {channel.key.channel: [] for channel in self.followed}
        self._newest = dict.fromkeys(self.heard, 0)
        self._silent: set[Channel] = set()
        self._ended: set[Channel] = set()
        self.connections = 0

    async def follow(self) -> None:
        while len(self._ended) < len(self.followed):
            self.connections += 1
            try:
                async with AsyncExitStack() as stack:
                    await self._listen(await self._connected(stack))
            except (ConnectionClosed, OSError):
                pass  # It comes back.

    async def _connected(self, stack: AsyncExitStack) -> ClientConnection:
        options: dict[str, Any] = {"close_timeout": 1}
        if self._habit is Habit.READS_SLOWLY:
            sock = socket.socket()
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
            sock.setblocking(False)
            address = self._hub.url.split("/")[2].split(":")
            await asyncio.get_running_loop().sock_connect(sock, (address[0], int(address[1])))
            options |= {"sock": sock, "max_queue": 1}
        return await stack.enter_async_context(self._hub.client(self._token(), **options))

    def _token(self) -> str:
        """For some habits one that does not last."""
        if self._habit not in (Habit.EXPIRES, Habit.RENEWS):
            return TOKEN
        token = f"sk_short_{self._number}_{self.connections}"
        expires_at = plus(self._hub.world.clock.now(), 0.2 + self._chance.random() / 2)
        self._hub.principals[token] = principal(expires_at=expires_at)
        return token

    async def _listen(self, client: ClientConnection) -> None:
        for channel in self.followed:
            await self._subscribe(client, channel)
        for heard in range(self._chance.randrange(1, 800)):
            async with asyncio.timeout(60):
                self._hear(await client.recv(decode=False))
            if len(self._ended) == len(self.followed):
                return
            if heard % 10 == 0:
                await self._misbehave(client)
        if self._chance.random() < 0.5:
            client.transport.abort()

    def _hear(self, frame: bytes) -> None:
        message = json.loads(frame)
        data = message["data"]
        if message["type"] == "subscribed":
            assert data["recovered"]
            self.heard[_kind(data)].append(Heard(data["position"], []))
            self._silent.discard(_kind(data))
        elif message["type"] == "unsubscribed":
            self._silent.add(_kind(data))
        elif "position" in message:
            self._keep(_kind(message), message["position"], frame)
        else:
            assert message["type"] in ("welcome", "closing", "pong"), message

    def _keep(self, kind: Channel, position: int, frame: bytes) -> None:
        assert kind not in self._silent
        self.heard[kind][-1].frames.append(frame)
        self._newest[kind] = max(self._newest[kind], position)
        if any(channel.end in frame for channel in self.followed if channel.key.channel is kind):
            self._ended.add(kind)

    async def _misbehave(self, client: ClientConnection) -> None:
        match self._habit:
            case Habit.CHANGES_ITS_MIND:
                await self._change_mind(client, self._chance.choice(self.followed))
            case Habit.READS_SLOWLY:
                await asyncio.sleep(self._chance.random() / 100)
            case Habit.RENEWS:
                await self._say(client, "auth", {"token": self._token()})

    async def _change_mind(self, client: ClientConnection, channel: Followed) -> None:
        """Without waiting for any answer."""
        for _ in range(self._chance.randrange(1, 4)):
            if self._chance.random() < 0.5:
                await self._say(client, "unsubscribe", channel.said)
            if self._chance.random() < 0.5:
                await self._say(client, "ping", {})
            await self._subscribe(client, channel)

    async def _subscribe(self, client: ClientConnection, channel: Followed) -> None:
        await self._say(client, "subscribe", {**channel.said, "since": self._newest[channel.key.channel]})

    async def _say(self, client: ClientConnection, type: str, data: dict[str, Any]) -> None:
        """In fragments, now and then."""
        whole = json.dumps({"type": type, "data": data})
        at = self._chance.randrange(len(whole))
        fragments: Sequence[str] = (whole[:at], whole[at:])
        await client.send(whole if self._chance.random() < 0.5 else fragments)


def _kind(said: dict[str, Any]) -> Channel:
    """Messages of `execution:*` name the execution: on one connection there is only one channel of a kind."""
    return Channel(said["channel"].partition(":")[0])


def require_all(heard: list[Heard], expected: list[bytes]) -> None:
    """Each subscription got the very messages after its position, without gap or repeat, and all of them all."""
    positions = [json.loads(frame)["position"] for frame in expected]
    for since, frames in heard:
        first = bisect_right(positions, since)
        assert frames == expected[first : first + len(frames)]
    came = {frame for _, frames in heard for frame in frames}
    assert came == set(expected)
