"""`client.tasks`: what people and workers outside are to do."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from hub.client.listing import Listing
from hub.client.resources.resource import Resource, given
from hub.client.types import Lease, LogLine, Task

_PATH = "tasks"
_ANSWER_SECONDS = 30.0


class Tasks(Resource):
    """A worker says its `worker_id` in all that it does: then it is refused once its lease has passed to another."""

    def list(self, **query: Any) -> Listing[Task]:
        """`status`, `kind`, `task_type`, `assignee`, `candidate`, `execution_id`, `workflow_id`, `overdue`,
        `priority`, `sort`, `order`, `limit`, `offset`, `cursor`."""
        return Listing(self._http, (_PATH,), Task, query)

    async def get(self, task_id: str) -> Task:
        return await self._ask(Task, "GET", _PATH, task_id)

    def logs(self, task_id: str, **query: Any) -> Listing[LogLine]:
        return Listing(self._http, (_PATH, task_id, "logs"), LogLine, query)

    async def claim_many(
        self,
        types: Sequence[str],
        worker_id: str,
        *,
        max: int = 1,
        lease_seconds: float | None = None,
        wait_seconds: float = 0,
    ) -> tuple[Task, ...]:
        """External tasks for a worker, `max` at most; where there are none, those that come in `wait_seconds` (60 at
        most), or none."""
        body = given(
            types=tuple(types), worker_id=worker_id, max=max, lease_seconds=lease_seconds, wait_seconds=wait_seconds
        )
        seconds = wait_seconds + _ANSWER_SECONDS
        return await self._ask(tuple[Task, ...], "POST", _PATH, "claim", body=body, seconds=seconds)

    async def claim(
        self,
        task_id: str,
        *,
        assignee: str | None = None,
        worker_id: str | None = None,
        lease_seconds: float | None = None,
    ) -> Task:
        """One task: for a person, or for a worker."""
        body = given(assignee=assignee, worker_id=worker_id, lease_seconds=lease_seconds)
        return await self._do(task_id, "claim", body)

    async def start(
        self,
        task_id: str,
        *,
        assignee: str | None = None,
        worker_id: str | None = None,
        lease_seconds: float | None = None,
    ) -> Task:
        body = given(assignee=assignee, worker_id=worker_id, lease_seconds=lease_seconds)
        return await self._do(task_id, "start", body)

    async def heartbeat(self, task_id: str, worker_id: str, *, lease_seconds: float | None = None) -> Lease:
        """Keeps a lease. Raises `Conflict` where the worker has the task no more."""
        body = given(worker_id=worker_id, lease_seconds=lease_seconds)
        return await self._ask(Lease, "POST", _PATH, task_id, "heartbeat", body=body, changes=False)

    async def complete(
        self,
        task_id: str,
        output: Any = None,
        *,
        notes: str | None = None,
        assignee: str | None = None,
        worker_id: str | None = None,
    ) -> Task:
        """`output` is the component's output."""
        body = given(output=output, notes=notes, assignee=assignee, worker_id=worker_id)
        return await self._do(task_id, "complete", body)

    async def fail(
        self,
        task_id: str,
        error: str,
        *,
        retryable: bool = False,
        assignee: str | None = None,
        worker_id: str | None = None,
    ) -> Task:
        """`retryable`: by the retry policy of the component."""
        body = given(error=error, retryable=retryable, assignee=assignee, worker_id=worker_id)
        return await self._do(task_id, "fail", body)

    async def release(
        self,
        task_id: str,
        *,
        reason: str | None = None,
        assignee: str | None = None,
        worker_id: str | None = None,
    ) -> Task:
        body = given(reason=reason, assignee=assignee, worker_id=worker_id)
        return await self._do(task_id, "release", body)

    async def reassign(self, task_id: str, assignee: str, *, reason: str | None = None) -> Task:
        return await self._do(task_id, "reassign", given(assignee=assignee, reason=reason))

    async def cancel(self, task_id: str, *, reason: str | None = None) -> Task:
        return await self._do(task_id, "cancel", given(reason=reason))

    async def retry(self, task_id: str) -> Task:
        """Runs the execution of a task that ended it again, from the task's component."""
        return await self._do(task_id, "retry", {})

    async def _do(self, task_id: str, what: str, body: dict[str, Any]) -> Task:
        return await self._ask(Task, "POST", _PATH, task_id, what, body=body)
