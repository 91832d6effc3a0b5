"""What there is to do for a connection, as its protocol says."""

from __future__ import annotations

from typing import NamedTuple

from hub.channels import Key, Wish
from hub.socket import requests


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
