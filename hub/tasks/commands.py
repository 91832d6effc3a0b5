"""What people and workers do with tasks: every command of the routes."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Final, NamedTuple

import msgspec

from executor.attempt import MAX_OUTPUT_BYTES
from executor.domain.errors import Code, Invalid, NotFound, Problem, ResourceConflict
from executor.domain.events import Event
from executor.domain.secrets import SEALED_PREFIX, redact
from executor.domain.task import decide
from executor.domain.task.state import State, stream
from executor.domain.values import DEEPEST, Instant, is_deep, plus
from executor.forms import entry_problems
from executor.ports import Clock, EventLog, Metadata, Reads, TaskLease, TaskLeases
from executor.sealing import Sealer, Unsealable
from executor.secrets import open_config
from executor.tasks import TaskHandler
from hub.auth.principal import Principal
from hub.lookups import task_row
from hub.tasks.requests import ClaimTask, CompleteTask, FailTask, Heartbeat, ReleaseTask

DEFAULT_LEASE_SECONDS: Final = 60.0

Decide = Callable[[State], Sequence[Event]]


class Caller(NamedTuple):
    """Who asks, and how the log names them."""

    principal: Principal
    metadata: Metadata


class Lease(NamedTuple):
    """How long a worker has a task."""

    seconds: float
    expires_at: Instant


class TaskCommands:
    """Raises `NotFound` also for another organization's tasks, `ResourceConflict` for what does not go with a task's
    status or with who has it, `Invalid` for what was entered, and `Unavailable`."""

    def __init__(
        self, log: EventLog, reads: Reads, leases: TaskLeases, handler: TaskHandler, sealer: Sealer, clock: Clock
    ) -> None:
        self._log, self._reads, self._handler = log, reads, handler
        self.leases, self.sealer, self.clock = leases, sealer, clock

    async def get(self, organization_id: str, id: str) -> State:
        """The newest fold, of a task that has a row: what went into an archive with its execution has none."""
        row = await task_row(self._reads, id, organization_id)
        state, _ = await self._log.load(stream(row.id))
        assert isinstance(state, State)
        return state

    async def assign(self, caller: Caller, id: str, request: ClaimTask) -> State:
        """A person has it from here on."""
        state = await self._of(caller, id)
        person = _person(caller.principal, state, request.assignee)
        return await self._handle(caller, id, lambda state: decide.decide_assign(state, person, caller.principal.id))

    async def start(self, caller: Caller, id: str, request: ClaimTask) -> State:
        """A person begins, by default the one who has it; or a worker claims the very task."""
        state = await self._of(caller, id)
        if state.is_human:
            by = caller.principal

            def decided(state: State) -> list[Event]:
                person = _person(by, state, request.assignee or state.assignee)
                return decide.decide_start(state, person, by.id)

            return await self._handle(caller, id, decided)
        if request.worker_id is None:
            raise Invalid([_required("worker_id", "which worker has the task")])
        lease = TaskLease(id, request.worker_id, self.clock.new_id())
        seconds = lease_seconds(state, request.lease_seconds)
        decide.decide_claim(state, lease.worker_id, lease.lease_id, seconds)
        if not await self.leases.take(lease, seconds):
            raise ResourceConflict(f"the task is {state.status}: a worker is just taking it", "status")
        return await self.begin(lease, request.lease_seconds, caller.metadata)

    async def begin(self, lease: TaskLease, wanted: float | None, metadata: Metadata) -> State:
        """A worker has the task whose lease it took. Raises `ResourceConflict` where it is not to be had."""
        try:
            return await self._handler.handle(
                lease.task_id,
                lambda state: decide.decide_claim(
                    state, lease.worker_id, lease.lease_id, lease_seconds(state, wanted)
                ),
                metadata,
            )
        except (ResourceConflict, NotFound):
            await self.leases.drop(lease.task_id, lease.lease_id)
            raise

    async def heartbeat(self, caller: Caller, id: str, request: Heartbeat) -> tuple[State, Lease]:
        """The worker goes on: its lease lasts from now on."""
        state = await self._of(caller, id)
        seconds = lease_seconds(state, request.lease_seconds)
        if not await self.leases.renew(id, request.worker_id, seconds):
            message = f"the task is {state.status}, and '{request.worker_id}' has no lease of it (any more)"
            raise ResourceConflict(message, "worker_id", current_status=state.status)
        return state, Lease(seconds, plus(self.clock.now(), seconds))

    async def release(self, caller: Caller, id: str, request: ReleaseTask) -> State:
        """Nobody has it any more. A worker's lease goes first: who hears of the release must find it free."""
        state = await self._of(caller, id)
        said = redact(request.reason, await self._secrets(state))
        return await self._release(state, request.holder, said, caller.metadata)

    async def give_back(self, state: State, reason: str, metadata: Metadata) -> State:
        """Releases a task for the worker that has just claimed it."""
        return await self._release(state, state.assignee, reason, metadata)

    async def _release(self, state: State, holder: str | None, reason: str | None, metadata: Metadata) -> State:
        def decided(state: State) -> list[Event]:
            return decide.decide_release(state, holder, reason)

        decided(state)
        await self._let_go(state)
        return await self._handler.handle(state.id, decided, metadata)

    async def reassign(self, caller: Caller, id: str, person: str, reason: str | None) -> State:
        await self._of(caller, id)
        return await self._handle(caller, id, lambda state: decide.decide_reassign(state, person, reason))

    async def complete(self, caller: Caller, id: str, request: CompleteTask) -> State:
        """What was entered is the component's output, once it fits the form."""
        state, by = await self._of(caller, id), caller.principal.id
        secrets = await self._secrets(state)
        output, notes = redact(request.output, secrets), redact(request.notes, secrets)

        def decided(state: State) -> list[Event]:
            return decide.decide_complete(state, output, notes, request.holder, by, self.clock.now())

        decided(state)
        if problems := _output_problems(request.output) or entry_problems(state.form, output, "output"):
            raise Invalid(problems)
        return await self._end(caller, state, decided)

    async def fail(self, caller: Caller, id: str, request: FailTask) -> State:
        state, by = await self._of(caller, id), caller.principal.id
        error = request.error if request.error is not None else request.reason
        if error is None:
            raise Invalid([_required("error", "why it failed")])
        said: str = redact(error, await self._secrets(state))

        def decided(state: State) -> list[Event]:
            return decide.decide_fail(state, said, request.retryable, request.holder, by, self.clock.now())

        return await self._end(caller, state, decided)

    async def cancel(self, caller: Caller, id: str, reason: str | None) -> State:
        """Nobody has to do it any more: its component fails."""
        state, by = await self._of(caller, id), caller.principal.id
        return await self._end(caller, state, lambda state: decide.decide_cancel(state, reason, by, self.clock.now()))

    async def _end(self, caller: Caller, state: State, decided: Decide) -> State:
        ended = await self._handle(caller, state.id, decided)
        await self._let_go(state)
        return ended

    async def _let_go(self, state: State) -> None:
        if state.lease_id is not None:
            await self.leases.drop(state.id, state.lease_id)

    async def _secrets(self, state: State) -> set[str]:
        """What the worker was given in clear, and what must not come back as such."""
        opened = set[str]()
        if SEALED_PREFIX.encode() in msgspec.json.encode(state.input):
            try:
                await open_config(self.sealer, state.organization_id, state.input, opened)
            except Unsealable:
                return opened
        return opened

    async def _of(self, caller: Caller, id: str) -> State:
        return await self.get(caller.principal.organization_id, id)

    async def _handle(self, caller: Caller, id: str, decided: Decide) -> State:
        return await self._handler.handle(id, decided, caller.metadata)


def lease_seconds(state: State, wanted: float | None) -> float:
    """As the worker says, else as the task's definition does."""
    return wanted or state.lease_seconds or DEFAULT_LEASE_SECONDS


def _person(principal: Principal, state: State, given: str | None) -> str:
    """Who asks is known by their name where that is a candidate's, else by their id."""
    if given is not None:
        return given
    return principal.name if principal.name in state.candidates else principal.id


def _output_problems(output: Any) -> list[Problem]:
    if is_deep(output):
        return [Problem(Code.VALIDATION_ERROR, f"output: is nested more than {DEEPEST} levels deep", "output")]
    size = len(msgspec.json.encode(output))
    if size <= MAX_OUTPUT_BYTES:
        return []
    return [Problem(Code.OUTPUT_TOO_LARGE, f"output: has {size} bytes, more than {MAX_OUTPUT_BYTES}", "output")]


def _required(field: str, what: str) -> Problem:
    return Problem(Code.VALIDATION_ERROR, f"'{field}' is required: {what}", field)
