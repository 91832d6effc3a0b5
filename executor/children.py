"""Child runs: what a `sub_workflow` opens, and what becomes of it with the run that waits for it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

from executor.components.base import ComponentError
from executor.domain import workflow
from executor.domain.errors import Refusal, Unavailable
from executor.domain.events import Event
from executor.domain.events import execution as events
from executor.domain.events.execution import Parent
from executor.domain.execution.decide import Creation, decide_create
from executor.domain.execution.lifecycle import decide_cancel, decide_pause, decide_resume, decide_terminate
from executor.domain.execution.parts import Header
from executor.domain.execution.rows import ExecutionRow
from executor.domain.execution.state import State
from executor.domain.execution.state import initial as unborn
from executor.domain.values import Instant, WorkflowStatus
from executor.domain.workflow import WorkflowRow
from executor.opening import Opens
from executor.ports import Clock, Eq, EventLog, FindWorkflow, In, Reads, RowQuery
from executor.secrets import Opener
from executor.workflows import creation_of

DEEPEST: Final = 20
"""How many runs may be above one: a workflow that runs itself comes to an end."""
MOST_BELOW: Final = 10_000
"""How many runs may be below one at the top, at all depths together."""

_THERE: Final = tuple(str(status) for status in WorkflowStatus if status is not WorkflowStatus.DELETED)


class OpensRun(Opens, frozen=True, kw_only=True):
    """A run to be created; who it is for is added when it is."""

    creation: Creation


class Children:
    """Implements `Kind`."""

    prefix = "execution"

    def opened(self, opens: OpensRun, parent: State, component: str, now: Instant) -> Sequence[Event]:
        known, above = parent.components[component], parent.run.parent
        begun = opens.creation._replace(
            priority=parent.priority,
            project_id=parent.run.project_id,
            created_by=parent.run.created_by,
            triggered_by=f"execution:{parent.run.id}",
            parent=Parent(
                execution_id=parent.run.id,
                component_id=known.id,
                iteration=known.iteration,
                root_execution_id=above.root_execution_id if above else parent.run.id,
                depth=above.depth + 1 if above else 1,
            ),
        )
        return decide_create(unborn(), begun, now)

    def followed(self, state: State, parent: State, event: Event, now: Instant) -> Sequence[Event]:
        """One that somebody else paused stays paused when the parent goes on."""
        if state.is_ended:
            return ()
        above = f"execution:{parent.run.id}"
        match event:
            case events.ExecutionPaused():
                return () if state.is_paused else decide_pause(state, above, event.reason, now)
            case events.ExecutionResumed():
                return decide_resume(state, above, event.reason, now) if state.paused_by == above else ()
            case events.ExecutionTerminated():
                return decide_terminate(state, event.terminated_by, event.reason, now)
            case events.ExecutionCancelled():
                return decide_cancel(state, event.cancelled_by, event.reason, now)
        return decide_cancel(state, above, "the run that waited for it does not any more", now)

    def place(self, of: OpensRun | State, parent: State) -> tuple[str | None, str | None]:
        return (of.creation.workflow_id, of.id) if isinstance(of, OpensRun) else (of.run.workflow_id, of.run.id)


class WorkflowDirectory:
    """The workflows that components may run."""

    def __init__(self, log: EventLog, reads: Reads, opener: Opener, clock: Clock) -> None:
        self._log, self._reads, self._opener, self._clock = log, reads, opener, clock

    def of(self, run: Header) -> FindWorkflow:
        """Those of its organization, as children of a run."""
        above = run.parent

        async def find(id: str | None, name: str | None, parameters: dict[str, Any]) -> OpensRun:
            if above is not None and above.depth >= DEEPEST:
                raise ComponentError(f"more than {DEEPEST} runs would be above it; does the workflow run itself?")
            try:
                await self._require_room(above.root_execution_id if above is not None else run.id)
                known = await self._known(run.organization_id, id, name)
                creation = await creation_of(self._opener, known, parameters, created_by="", keeps_sealed=True)
            except Unavailable as error:
                raise ComponentError(f"the workflow cannot be looked up for now: {error}", temporary=True) from None
            except Refusal as refusal:
                said = f"the workflow '{name or id}' cannot be run: {refusal}"
                raise ComponentError(said, code=refusal.problems[0].code) from None
            return OpensRun(id=self._clock.new_id(), creation=creation)

        return find

    async def _require_room(self, root: str) -> None:
        if await self._reads.count(ExecutionRow, (Eq("root_execution_id", root),)) >= MOST_BELOW:
            message = f"there are {MOST_BELOW} runs below the one at the top already, which is the most"
            raise ComponentError(message)

    async def _known(self, organization_id: str, id: str | None, name: str | None) -> workflow.State:
        key = Eq("name", name) if id is None else Eq("id", id)
        where = (Eq("organization_id", organization_id), In("status", _THERE), key)
        rows = await self._reads.find(WorkflowRow, RowQuery(where=where, limit=1))
        if not rows:
            said = f"of the id '{id}'" if id is not None else f"named '{name}'"
            raise ComponentError(f"there is no workflow {said}")
        state: workflow.State
        state, _ = await self._log.load(f"workflow:{rows[0].id}")
        return state
