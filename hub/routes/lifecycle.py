"""What may be done to an execution: start it, pause it, let it go on, signal it, end it, run it again."""

from __future__ import annotations

from collections.abc import Callable
from typing import Annotated, Any, Literal

from msgspec import UNSET, Meta, Struct, UnsetType

from executor.domain.errors import Code, Invalid, Problem
from executor.domain.events import Event
from executor.domain.execution.lifecycle import (
    decide_pause,
    decide_reprioritize,
    decide_resume,
    decide_signal,
    decide_start,
    decide_terminate,
)
from executor.domain.execution.rows import view
from executor.domain.execution.state import State
from executor.domain.values import DEEPEST, SIGNAL_PATTERN, Instant, is_deep
from hub.envelope import Answer
from hub.executions import cancel, command, retry
from hub.lookups import kept_execution
from hub.operation import Call, NoBody, Resource
from hub.priorities import PriorityValue, priority_of
from hub.queries import NoQuery

RESOURCE = Resource("executions")
Reason = Annotated[str, Meta(max_length=1000)]
Key = Annotated[
    str,
    Meta(
        pattern=SIGNAL_PATTERN,
        max_length=256,
        description="must be up to 256 letters, digits, dots, slashes, hyphens and underscores",
    ),
]


class WithReason(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    reason: Reason | None = None


class ChangePriority(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    priority: PriorityValue


class SendSignal(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """`name` is another word for `key`. `data` becomes the output of the component that waits for it."""

    key: Key | UnsetType = UNSET
    name: Key | UnsetType = UNSET
    data: Any = None


class RetryExecution(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Without `from_component` it goes on from where it stopped; `parameters` replace those of the same names;
    `version` is the one that the execution has, or the workflow's newest."""

    from_component: Annotated[str, Meta(max_length=128)] | None = None
    parameters: dict[str, Any] = {}
    version: Literal["kept", "newest"] = "kept"
    reason: Reason | None = None


@RESOURCE.route("POST", "/executions/{id}/start", needs="execution.write")
async def start(call: Call[NoBody, NoQuery]) -> Answer:
    """Start a pending execution now."""
    by = call.principal.id
    return await _commanded(call, "Execution started", lambda state, now: decide_start(state, by, now))


@RESOURCE.route("POST", "/executions/{id}/pause", needs="execution.write", body=WithReason)
async def pause(call: Call[WithReason, NoQuery]) -> Answer:
    """Pause an execution: what runs finishes, nothing starts."""
    by, reason = call.principal.id, call.body.reason
    return await _commanded(call, "Execution paused", lambda state, now: decide_pause(state, by, reason, now))


@RESOURCE.route("POST", "/executions/{id}/resume", needs="execution.write", body=WithReason)
async def resume(call: Call[WithReason, NoQuery]) -> Answer:
    """Let a paused execution go on."""
    by, reason = call.principal.id, call.body.reason
    return await _commanded(call, "Execution resumed", lambda state, now: decide_resume(state, by, reason, now))


@RESOURCE.route("POST", "/executions/{id}/priority", needs="execution.write", body=ChangePriority)
async def priority(call: Call[ChangePriority, NoQuery]) -> Answer:
    """Change the priority of an execution that has not started."""
    by, wanted = call.principal.id, priority_of(call.body.priority)
    return await _commanded(call, "Priority changed", lambda state, now: decide_reprioritize(state, wanted, by, now))


@RESOURCE.route("POST", "/executions/{id}/signal", needs="execution.write", body=SendSignal)
async def signal(call: Call[SendSignal, NoQuery]) -> Answer:
    """Send an execution a signal; it is kept until a component waits for it."""
    data, key = call.body.data, _key(call.body)
    return await _commanded(call, "Signal received", lambda state, now: decide_signal(state, key, data, now))


@RESOURCE.route("POST", "/executions/{id}/cancel", needs="execution.write", body=WithReason)
async def cancel_(call: Call[WithReason, NoQuery]) -> Answer:
    """Cancel an execution: it ends at once."""
    row = await kept_execution(call.hub.store, call.path["id"], call.organization_id)
    state = await cancel(call.hub, row, call.principal.id, call.metadata, call.body.reason)
    return Answer(view(state), "Execution cancelled")


@RESOURCE.route("POST", "/executions/{id}/terminate", needs="execution.write", body=WithReason)
async def terminate(call: Call[WithReason, NoQuery]) -> Answer:
    """End an execution by force: nobody waits for what runs."""
    by, reason = call.principal.id, call.body.reason
    return await _commanded(call, "Execution terminated", lambda state, now: decide_terminate(state, by, reason, now))


@RESOURCE.route("POST", "/executions/{id}/retry", needs="execution.write", body=RetryExecution, status=202)
async def retry_(call: Call[RetryExecution, NoQuery]) -> Answer:
    """Run an execution that failed or was cancelled again, from a component or from where it stopped."""
    body = call.body
    row = await kept_execution(call.hub.store, call.path["id"], call.organization_id)
    state = await retry(
        call.hub,
        call.principal,
        row,
        call.metadata,
        from_component=body.from_component,
        parameters=body.parameters,
        to_newest=body.version == "newest",
        reason=body.reason,
    )
    return Answer(view(state), "Execution retried")


async def _commanded(call: Call[Any, Any], message: str, decide: Callable[[State, Instant], list[Event]]) -> Answer:
    row = await kept_execution(call.hub.store, call.path["id"], call.organization_id)
    clock = call.hub.clock
    state = await command(call.hub, row, call.metadata, lambda state: decide(state, clock.now()))
    return Answer(view(state), message)


def _key(body: SendSignal) -> str:
    problems = []
    given = [key for key in (body.key, body.name) if key is not UNSET]
    if len(given) != 1:
        message = "key: say which signal, once, as 'key' or as 'name'"
        problems.append(Problem(Code.VALIDATION_ERROR, message, "key"))
    if is_deep(body.data):
        message = f"data is nested more than {DEEPEST} levels deep"
        problems.append(Problem(Code.VALIDATION_ERROR, message, "data"))
    if problems:
        raise Invalid(problems)
    return given[0]
