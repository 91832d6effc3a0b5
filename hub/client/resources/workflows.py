"""`client.workflows`: what can run."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from hub.client.listing import Listing
from hub.client.resources.resource import Resource, given
from hub.client.types import Execution, Started, Validation, Workflow

_PATH = "workflows"


class Workflows(Resource):
    async def create(self, workflow: Mapping[str, Any], *, idempotency_key: str | None = None) -> Workflow:
        """`name` and `definition`, and what else `POST /workflows` takes."""
        return await self._ask(Workflow, "POST", _PATH, body=workflow, key=idempotency_key)

    def list(self, **query: Any) -> Listing[Workflow]:
        """`category`, `status`, `search`, `tags`, `created_by`, `sort`, `order`, `limit`, `offset`, `cursor`."""
        return Listing(self._http, (_PATH,), Workflow, query)

    async def get(
        self,
        workflow_id: str,
        *,
        at: str | int | None = None,
        include_definition: bool | None = None,
        include_stats: bool | None = None,
    ) -> Workflow:
        """`at`: as it was at a position or a time."""
        query = given(at=at, include_definition=include_definition, include_stats=include_stats)
        return await self._ask(Workflow, "GET", _PATH, workflow_id, query=query)

    async def update(self, workflow_id: str, changes: Mapping[str, Any]) -> Workflow:
        """Fields left out keep their values; `definition` is replaced whole."""
        return await self._ask(Workflow, "PUT", _PATH, workflow_id, body=changes)

    async def delete(self, workflow_id: str, *, force: bool = False) -> None:
        """With live executions only by force, which cancels them."""
        await self._http.send("DELETE", _PATH, workflow_id, query={"force": force})

    async def validate(self, workflow_id: str, definition: Mapping[str, Any] | None = None) -> Validation:
        """The stored definition, or this one."""
        body = given(definition=definition)
        return await self._ask(Validation, "POST", _PATH, workflow_id, "validate", body=body, changes=False)

    async def execute(
        self,
        workflow_id: str,
        *,
        parameters: Mapping[str, Any] | None = None,
        priority: int | str | None = None,
        scheduled_at: str | None = None,
        tags: Sequence[str] | None = None,
        project_id: str | None = None,
        auto_start: bool | None = None,
        idempotency_key: str | None = None,
    ) -> Started:
        """Durable once this returns. The same `idempotency_key` again gives the first answer, and runs nothing."""
        body = given(
            parameters=parameters,
            priority=priority,
            scheduled_at=scheduled_at,
            tags=tags,
            project_id=project_id,
            auto_start=auto_start,
        )
        return await self._ask(Started, "POST", _PATH, workflow_id, "execute", body=body, key=idempotency_key)

    def executions(self, workflow_id: str, **query: Any) -> Listing[Execution]:
        return Listing(self._http, (_PATH, workflow_id, "executions"), Execution, query)

    async def activate(self, workflow_id: str) -> Workflow:
        return await self._ask(Workflow, "POST", _PATH, workflow_id, "activate")

    async def deactivate(self, workflow_id: str) -> Workflow:
        return await self._ask(Workflow, "POST", _PATH, workflow_id, "deactivate")

    async def archive(self, workflow_id: str) -> Workflow:
        return await self._ask(Workflow, "POST", _PATH, workflow_id, "archive")
