"""The channels of an event stream: named in its query, each allowed and there, and followed as one."""

from __future__ import annotations

from typing import TYPE_CHECKING

from executor.domain.errors import Code, Invalid, NotFound, Problem
from hub.auth.principal import Principal
from hub.channels import PERMISSIONS, Key, Union, Wish, needs_check
from hub.errors import Forbidden
from hub.lookups import is_there
from hub.messages import Channel, message_types
from hub.operation import Call, NoBody
from hub.patterns import wanted_types
from hub.wishes import Wrong, named, require_filter

if TYPE_CHECKING:
    from hub.routes.events import StreamEvents

_OF_WHOLE_EVENTS = ("workflow_id", "execution_id", "replay_id")


async def channels_of(call: Call[NoBody, StreamEvents]) -> tuple[tuple[Key, ...], Wish]:
    """Raises `Invalid` with everything that is wrong with the query, `Forbidden` naming the permission of a channel,
    and `NotFound` for a thing that is not the organization's."""
    query, organization_id = call.query, call.organization_id
    problems = [
        Problem(Code.VALIDATION_ERROR, f"name the channel instead, beside 'channel': channel={name[:-3]}:ID", name)
        for name in _OF_WHOLE_EVENTS
        if getattr(query, name) is not None
    ]
    found: list[tuple[Channel, str]] = []
    missing: list[NotFound] = []
    for index, text in enumerate(query.channel):
        try:
            found.append(named(text))
        except Wrong as wrong:
            if wrong.problem.code is Code.RESOURCE_NOT_FOUND:
                missing.append(NotFound(*text.split(":", 1)))
            else:
                problems.append(Problem(wrong.problem.code, wrong.problem.message, f"channel[{index}]"))
    if problems:
        raise Invalid(problems)
    for channel, _ in found:
        require(call.principal, channel)
    if missing:
        raise missing[0]
    union = Union([Key(organization_id, channel, id) for channel, id in found])
    for key in union.keys:
        if needs_check(key) and not await is_there(call.hub.store)(str(key.channel), key.id, organization_id):
            raise NotFound(str(key.channel), key.id)
    types = _types(query.types, {channel for channel, _ in found})
    return union.keys, Wish(types, condition_of(query.filter), query.mode == "latest", union)


def require(principal: Principal, channel: Channel) -> None:
    """Raises `Forbidden`."""
    if not principal.allows(PERMISSIONS[channel]):
        raise Forbidden(PERMISSIONS[channel])


def condition_of(filter: str | None) -> str | None:
    """Raises `Invalid`."""
    if filter is not None:
        try:
            require_filter(filter)
        except Wrong as wrong:
            raise Invalid([wrong.problem]) from None
    return filter


def _types(patterns: tuple[str, ...], channels: set[Channel]) -> frozenset[str] | None:
    """The types that match a pattern and have a message on one of the channels; None for all, whatever they are
    called."""
    wanted = frozenset(wanted_types(patterns)) or None
    sent = frozenset[str]()
    for channel in channels:
        types = message_types(channel)
        if types is None:
            return wanted
        sent |= types
    if wanted is not None and not wanted & sent:
        said = "these types have no message on these channels"
        raise Invalid([Problem(Code.VALIDATION_ERROR, said, "types")])
    return sent if wanted is None else wanted & sent
