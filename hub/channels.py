"""Channels: what can be subscribed to, which events are on one, and what of it a subscription wants."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Final, NamedTuple

import msgspec

from executor.ports import Recorded
from hub.message_data import task_id_of
from hub.messages import SINGLE, TASK_TYPES, Channel, webhook_id_of
from hub.notices import NOTICE_TYPES

ANY: Final = "*"
ASSIGNEE: Final = "assignee:"
"""How the id of a channel of somebody's tasks begins."""


PERMISSIONS: Final = {
    Channel.EXECUTION: "execution.read",
    Channel.WORKFLOW: "workflow.read",
    Channel.TASK: "task.read",
    Channel.EVENTS: "event.read",
    Channel.WEBHOOK: "webhook.read",
    Channel.SYSTEM: "system.read",
    Channel.REPLAY: "event.read",
}


class Key(NamedTuple):
    """A channel of an organization. `id` is `*` for any; of `events` and `system` there is only that one; of tasks
    there are also those of an assignee, as `assignee:NAME`."""

    organization_id: str
    channel: Channel
    id: str

    @property
    def name(self) -> str:
        """How clients see it: `execution:ID`, `workflow:*`, `events`."""
        return str(self.channel) if self.channel in SINGLE else f"{self.channel}:{self.id}"

    def covers(self, recorded: Recorded) -> bool:
        if recorded.organization_id != self.organization_id:
            return False
        match self.channel:
            case Channel.EVENTS:
                return True
            case Channel.SYSTEM:
                return recorded.type in NOTICE_TYPES
            case Channel.TASK:
                return self in _keys_of_task(recorded)
            case Channel.WEBHOOK:
                id = webhook_id_of(recorded)
            case Channel.EXECUTION:
                id = recorded.execution_id
            case _:
                id = recorded.workflow_id
        return id is not None and self.id in (ANY, id)


def needs_check(key: Key) -> bool:
    """The channels of one thing; `*`, `events` and those of an assignee are the organization's by themselves."""
    return key.id != ANY and not key.id.startswith(ASSIGNEE)


class Union:
    """Several channels of an organization as one: what is on more than one of them is on the first alone, so that
    one position says how far all of them were sent."""

    __slots__ = ("_ranks", "keys")

    def __init__(self, keys: Sequence[Key]) -> None:
        self.keys = tuple(dict.fromkeys(keys))
        self._ranks = {key: rank for rank, key in enumerate(self.keys)}

    @property
    def carrier(self) -> Key:
        """The one channel that has all of it."""
        return self.keys[0] if len(self.keys) == 1 else Key(self.keys[0].organization_id, Channel.EVENTS, ANY)

    def channels_of(self, recorded: Recorded) -> list[Channel]:
        """The kinds of those that an event is on, in their order."""
        ranks = [rank for key in keys_of(recorded) if (rank := self._ranks.get(key)) is not None]
        return list(dict.fromkeys(self.keys[rank].channel for rank in sorted(ranks)))


class Wish(NamedTuple):
    """What of a channel a subscription wants. `types` are names of event types, None for all; `condition` is CEL over
    the event (see `hub.filters`); `is_latest` says that news of an execution may replace older news of it. Of a
    `union`'s carrier only what is on the union is wanted, as the messages there."""

    types: frozenset[str] | None = None
    condition: str | None = None
    is_latest: bool = False
    union: Union | None = None


ALL: Final = Wish()


def keys_of(recorded: Recorded) -> Iterator[Key]:
    """The channels that an event belongs to."""
    organization = recorded.organization_id
    yield Key(organization, Channel.EVENTS, ANY)
    if (id := recorded.execution_id) is not None:
        yield Key(organization, Channel.EXECUTION, id)
        yield Key(organization, Channel.EXECUTION, ANY)
    if (id := recorded.workflow_id) is not None:
        yield Key(organization, Channel.WORKFLOW, id)
        yield Key(organization, Channel.WORKFLOW, ANY)
    if (id := webhook_id_of(recorded)) is not None:
        yield Key(organization, Channel.WEBHOOK, id)
        yield Key(organization, Channel.WEBHOOK, ANY)
    if recorded.type in NOTICE_TYPES:
        yield Key(organization, Channel.SYSTEM, ANY)
    yield from _keys_of_task(recorded)


class _Assignees(msgspec.Struct):
    assignee: str | None = None
    former_assignee: str | None = None


def _keys_of_task(recorded: Recorded) -> Sequence[Key]:
    """Who had a task until then hears of it too."""
    if recorded.type not in TASK_TYPES or not recorded.data:
        return ()
    try:
        said = msgspec.json.decode(recorded.data, type=_Assignees)
    except msgspec.DecodeError:
        return ()
    names = {name for name in (said.assignee, said.former_assignee) if name is not None}
    ids = (task_id_of(recorded), ANY, *(ASSIGNEE + name for name in names))
    return [Key(recorded.organization_id, Channel.TASK, id) for id in ids]
