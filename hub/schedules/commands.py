"""What clients do with schedules: their commands, the look at the workflow, and the sealing of parameters."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial

import msgspec
from msgspec import UNSET, structs

from executor.definitions.parameters import check_parameters
from executor.domain import schedule, workflow
from executor.domain.errors import Code, Invalid, NotFound, Problem, ResourceConflict, Unavailable
from executor.domain.events import Event
from executor.domain.execution.state import State as Execution
from executor.domain.schedule import Next, State
from executor.domain.schedule_decide import (
    Change,
    decide_create,
    decide_pause,
    decide_resume,
    decide_update,
    parameters_after,
)
from executor.domain.secrets import REDACTED
from executor.domain.values import WorkflowStatus, is_ulid
from executor.domain.workflow import WorkflowRow
from executor.firing import Firing
from executor.ports import Clock, Conflict, Eq, In, Metadata, NameTaken, NewEvent, RowQuery, Store, StreamAppend
from executor.sealing import Sealer
from executor.secrets import seal_parameters
from executor.timetable import coming
from hub.schedules.requests import CreateSchedule, UpdateSchedule, change_of, problems_of

MOST_BYTES = 64 * 1024
_ATTEMPTS = 20
_THERE = tuple(str(status) for status in WorkflowStatus if status is not WorkflowStatus.DELETED)


class ScheduleCommands:
    """Schedules as the routes use them. Raises `NotFound` also for another organization's and for deleted ones,
    `Invalid` with all problems at once, `ResourceConflict`, and `Unavailable`."""

    def __init__(self, store: Store, sealer: Sealer, clock: Clock, firing: Firing) -> None:
        self._store, self._sealer, self._clock, self._firing = store, sealer, clock, firing

    async def create(self, organization_id: str, request: CreateSchedule, metadata: Metadata) -> State:
        id = self._clock.new_id()
        change = await self._checked(organization_id, request, None)
        decide = partial(decide_create, change=change, id=id, now=self._clock.now(), coming=self._coming)
        return await self._handle(organization_id, id, decide, metadata, change)

    async def update(self, organization_id: str, id: str, request: UpdateSchedule, metadata: Metadata) -> State:
        stored = await self.get(organization_id, id)
        change = await self._checked(organization_id, request, stored)
        decide = partial(decide_update, change=change, now=self._clock.now(), coming=self._coming)
        return await self._handle(organization_id, id, decide, metadata, change, stored)

    async def pause(self, organization_id: str, id: str, reason: str | None, metadata: Metadata) -> State:
        return await self._moved(organization_id, id, partial(decide_pause, reason=reason), metadata)

    async def resume(self, organization_id: str, id: str, metadata: Metadata) -> State:
        """Raises `ResourceConflict` also where its workflow was deleted."""
        stored = await self.get(organization_id, id)
        if not await self._is_there(organization_id, stored.workflow_id):
            raise ResourceConflict("the workflow was deleted; give the schedule another one", "workflow_id")
        return await self._moved(organization_id, id, partial(decide_resume, coming=self._coming), metadata)

    async def delete(self, organization_id: str, id: str, metadata: Metadata) -> None:
        await self.get(organization_id, id)
        await self._firing.delete(id, organization_id, metadata)

    async def trigger(self, organization_id: str, id: str, metadata: Metadata) -> Execution:
        await self.get(organization_id, id)
        return await self._firing.trigger(id, organization_id, metadata)

    async def get(self, organization_id: str, id: str) -> State:
        """As it is now. Raises `NotFound`."""
        state = (await self._firing.load(id))[0] if is_ulid(id) else State()
        if state.organization_id != organization_id or not state.is_there:
            raise NotFound("schedule", id)
        return state

    def _coming(self, state: State) -> Next:
        """From now on, and never again what has been."""
        return coming(state, max(self._clock.now(), state.last_time))

    async def _checked(self, organization_id: str, request: UpdateSchedule, stored: State | None) -> Change:
        """The change that a request asks for, whole: its workflow by id, secrets sealed. Raises `Invalid`."""
        change = change_of(request)
        problems = problems_of(change, stored, self._clock.now())
        workflow_id = await self._workflow_id(organization_id, request, problems)
        if workflow_id is not None:
            change = structs.replace(change, workflow_id=workflow_id)
        elif stored is not None:
            workflow_id = stored.workflow_id
        if workflow_id is not None and (stored is None or {"parameters", "workflow_id"} & _given(change)):
            known, _ = await self._store.log.load(f"workflow:{workflow_id}")
            problems += _parameter_problems(known, change, stored or State())
            if not problems:
                change = await self._sealed(organization_id, known, change)
        if problems:
            raise Invalid(problems)
        return change

    async def _workflow_id(
        self, organization_id: str, request: UpdateSchedule, problems: list[Problem]
    ) -> str | None:
        """The workflow that is asked for; adds to the problems where it is not there, or none is said."""
        if isinstance(request.workflow_name, str):
            if request.workflow_id is not UNSET:
                problems.append(_problem("workflow_name", "'workflow_name' excludes 'workflow_id'"))
                return None
            where = (Eq("organization_id", organization_id), Eq("name", request.workflow_name), In("status", _THERE))
            rows = await self._store.reads.find(WorkflowRow, RowQuery(where=where, limit=1))
            if rows:
                return rows[0].id
            problems.append(_problem("workflow_name", f"there is no workflow named '{request.workflow_name}'"))
        elif isinstance(request.workflow_id, str):
            if await self._is_there(organization_id, request.workflow_id):
                return request.workflow_id
            problems.append(_problem("workflow_id", f"workflow '{request.workflow_id}' was not found"))
        elif isinstance(request, CreateSchedule):
            problems.append(_problem("workflow_id", "'workflow_id' is required, or 'workflow_name' in its place"))
        return None

    async def _is_there(self, organization_id: str, workflow_id: str) -> bool:
        row = await self._store.reads.get(WorkflowRow, workflow_id) if is_ulid(workflow_id) else None
        return row is not None and row.organization_id == organization_id and row.status in _THERE

    async def _sealed(self, organization_id: str, known: workflow.State, change: Change) -> Change:
        """With secrets sealed; what is `[REDACTED]` stays so: the decider knows what is stored."""
        if not isinstance(change.parameters, dict):
            return change
        declared = known.definition.parameters
        new = {name: value for name, value in change.parameters.items() if value != REDACTED}
        sealed = await seal_parameters(self._sealer, organization_id, declared, new)
        return structs.replace(change, parameters=change.parameters | sealed)

    async def _moved(
        self, organization_id: str, id: str, decide: Callable[[State], Sequence[Event]], metadata: Metadata
    ) -> State:
        stored = await self.get(organization_id, id)
        return await self._handle(organization_id, id, decide, metadata, Change(), stored)

    async def _handle(
        self,
        organization_id: str,
        id: str,
        decide: Callable[[State], Sequence[Event]],
        metadata: Metadata,
        change: Change,
        stored: State | None = None,
    ) -> State:
        workflow_id = None if stored is None else stored.workflow_id
        if isinstance(change.workflow_id, str):
            workflow_id = change.workflow_id
        for _ in range(_ATTEMPTS):
            known, version = await self._firing.load(id)
            decided = decide(known)
            if not decided:
                return known
            append = StreamAppend(
                stream=schedule.stream(id),
                expected=version,
                state=known,
                events=tuple(NewEvent(self._clock.new_id(), event) for event in decided),
                organization_id=organization_id,
                workflow_id=workflow_id,
            )
            try:
                state: State = (await self._store.log.append([append], metadata))[0].state
                return state
            except NameTaken:
                raise ResourceConflict(f"there is a schedule named '{change.name}' already", "name") from None
            except Conflict:
                continue
        raise Unavailable(f"the schedule '{id}' is changing too fast; try again")


def _parameter_problems(known: workflow.State, change: Change, stored: State) -> list[Problem]:
    """Against what the workflow declares now; each execution is checked again."""
    parameters = parameters_after(stored, change)
    problems = check_parameters(known.definition.parameters, parameters)
    if not problems and len(msgspec.json.encode(parameters)) > MOST_BYTES:
        problems.append(_problem("parameters", f"the parameters of a schedule are at most {MOST_BYTES} bytes"))
    return problems


def _given(change: Change) -> set[str]:
    return {name for name in change.__struct_fields__ if getattr(change, name) is not UNSET}


def _problem(field: str, message: str) -> Problem:
    return Problem(Code.VALIDATION_ERROR, message, field)
