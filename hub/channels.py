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


class Wish(NamedTuple):
    """What of a channel a subscription wants. `types` are names of event types, None for all; `condition` is CEL over
    the event (see `hub.filters`); `is_latest` says that news of an execution may replace older news of it."""

    types: frozenset[str] | None = None
    condition: str | None = None
    is_latest: bool = False

    @property
    def is_everything(self) -> bool:
        return self.types is None and self.condition is None and not self.is_latest


ALL: Final = Wish()


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
    said = msgspec.json.decode(recorded.data, type=_Assignees)
    names = {name for name in (said.assignee, said.former_assignee) if name is not None}
    ids = (task_id_of(recorded), ANY, *(ASSIGNEE + name for name in names))
    return [Key(recorded.organization_id, Channel.TASK, id) for id in ids]
