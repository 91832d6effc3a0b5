"""The ledger of what was archived: executions whose events are blank in the log, and the file that has them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple, Protocol

from msgspec import Struct

from executor.domain.values import Instant
from executor.ports.log import Stored


class Ended(NamedTuple):
    """An execution that nothing waits for any more. `version` is its stream's."""

    execution_id: str
    organization_id: str
    workflow_id: str
    status: str
    created_at: Instant
    completed_at: Instant
    version: int


class Archived(Struct, frozen=True, kw_only=True):
    """What the ledger keeps of an archived execution. `file` is the name of the file, without its directory."""

    execution_id: str
    organization_id: str
    workflow_id: str
    status: str
    created_at: Instant
    completed_at: Instant
    version: int
    first_position: int
    last_position: int
    archived_at: Instant
    file: str


class Retention(Protocol):
    """Ledger: which executions were archived, and the only way to blank events.

    An event is blanked by emptying its data: its envelope, digest and hash stay, so the chain still proves.
    """

    async def ended(self, before: Instant, after: tuple[Instant, str], limit: int) -> list[Ended]:
        """Executions that ended before a time, by `completed_at` and id after those (exclusive), and that nothing
        waits for: the fan-out has passed them, and all deliveries and replays of their events have ended."""

    async def events(self, execution_id: str) -> list[Stored]:
        """The events of an execution's stream and of its tasks', in the order of the log."""

    async def blank(self, archived: Sequence[Archived]) -> list[str]:
        """Blanks the events of executions, takes their rows and the deliveries of these events away, and keeps these
        in the ledger, in one transaction; answers the ids of those that it was done for. The others have changed
        since, or something waits for them again; they are left as they are. Their files must be on disk by now."""

    async def get(self, execution_id: str) -> Archived | None: ...

    async def is_lost(
        self, organization_id: str, after: int, *, execution_id: str | None = None, workflow_id: str | None = None
    ) -> bool:
        """Whether events after a position were archived: of the organization, or only of an execution or workflow."""
