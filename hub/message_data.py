"""What the messages of channels say: read of an event's data, and sent as a message's. Pure."""

from __future__ import annotations

from typing import Final

import msgspec
from msgspec import UNSET, Raw, Struct, UnsetType

from executor.ports import Recorded

MAX_OUTPUT_BYTES: Final = 16 * 1024
"""An output whose JSON is longer is left out of messages (not of `event`, which is whole)."""

_NULL: Final = Raw(b"null")


# What is read of an event's data: values stay JSON bytes wherever they are only handed on.


class _Execution(Struct):
    status: Raw
    progress: Raw
    duration: Raw = _NULL


class _Component(Struct):
    component_id: Raw
    status: Raw
    progress: Raw
    duration: Raw = _NULL
    output_data: Raw = _NULL


class _ComponentStarted(Struct):
    execution_status: Raw
    progress: Raw
    execution_duration: Raw = _NULL


class _Failure(Struct):
    message: Raw


class _Failed(Struct):
    component_id: Raw
    error: _Failure
    progress: Raw
    retry_count: Raw


class _Workflow(Struct):
    name: Raw
    status: Raw
    workflow_version: Raw


class _Task(Struct):
    component_id: Raw
    kind: Raw
    title: Raw
    status: Raw
    priority: Raw
    task_type: Raw = _NULL
    assignee: Raw = _NULL
    due_at: Raw = _NULL


class _Log(Struct):
    level: Raw
    message: Raw
    component_id: Raw = _NULL
    metadata: Raw = _NULL


# What is sent.


class ExecutionUpdate(Struct, frozen=True):
    """`status` and `duration` (seconds) are the execution's, also where a component's start caused it."""

    execution_id: str | None
    workflow_id: str | None
    status: Raw
    progress: Raw
    duration: Raw


class ComponentCompleted(Struct, frozen=True):
    """`status` is completed, skipped, or cancelled; only the first has an output."""

    execution_id: str | None
    workflow_id: str | None
    component_id: Raw
    status: Raw
    duration: Raw
    progress: Raw
    output_data: Raw | UnsetType = UNSET
    output_truncated: bool | UnsetType = UNSET


class ComponentError(Struct, frozen=True):
    """`final` is false where another attempt follows."""

    execution_id: str | None
    workflow_id: str | None
    component_id: Raw
    error: Raw
    retry_count: Raw
    final: bool
    progress: Raw


class WorkflowUpdate(Struct, frozen=True):
    """`event` is the type of the event, such as `workflow.activated`."""

    workflow_id: str | None
    name: Raw
    status: Raw
    version: Raw
    event: str


class TaskUpdate(Struct, frozen=True):
    """`event` is the type of the event, such as `task.assigned`; the assignee of an external task is its worker."""

    task_id: str
    execution_id: str | None
    workflow_id: str | None
    component_id: Raw
    kind: Raw
    task_type: Raw
    title: Raw
    status: Raw
    assignee: Raw
    priority: Raw
    due_at: Raw
    event: str


class Log(Struct, frozen=True):
    execution_id: str | None
    component_id: Raw
    level: Raw
    message: Raw
    metadata: Raw


Data = ExecutionUpdate | ComponentCompleted | ComponentError | WorkflowUpdate | TaskUpdate | Log


_execution: Final = msgspec.json.Decoder(_Execution).decode
_component: Final = msgspec.json.Decoder(_Component).decode
_component_started: Final = msgspec.json.Decoder(_ComponentStarted).decode
_failed: Final = msgspec.json.Decoder(_Failed).decode
_workflow: Final = msgspec.json.Decoder(_Workflow).decode
_task: Final = msgspec.json.Decoder(_Task).decode
_log: Final = msgspec.json.Decoder(_Log).decode


def execution_data(of: Recorded) -> ExecutionUpdate:
    read = _execution(of.data)
    return ExecutionUpdate(of.execution_id, of.workflow_id, read.status, read.progress, read.duration)


def component_started_data(of: Recorded) -> ExecutionUpdate:
    read = _component_started(of.data)
    return ExecutionUpdate(
        of.execution_id, of.workflow_id, read.execution_status, read.progress, read.execution_duration
    )


def component_completed_data(of: Recorded) -> ComponentCompleted:
    read = _component(of.data)
    is_long = len(read.output_data) > MAX_OUTPUT_BYTES
    return ComponentCompleted(
        of.execution_id,
        of.workflow_id,
        read.component_id,
        read.status,
        read.duration,
        read.progress,
        UNSET if is_long else read.output_data,
        True if is_long else UNSET,
    )


def error_data(of: Recorded, final: bool) -> ComponentError:
    read = _failed(of.data)
    return ComponentError(
        of.execution_id,
        of.workflow_id,
        read.component_id,
        read.error.message,
        read.retry_count,
        final,
        read.progress,
    )


def workflow_data(of: Recorded) -> WorkflowUpdate:
    read = _workflow(of.data)
    return WorkflowUpdate(of.workflow_id, read.name, read.status, read.workflow_version, of.type)


def task_data(of: Recorded) -> TaskUpdate:
    read = _task(of.data)
    return TaskUpdate(
        task_id_of(of),
        of.execution_id,
        of.workflow_id,
        read.component_id,
        read.kind,
        read.task_type,
        read.title,
        read.status,
        read.assignee,
        read.priority,
        read.due_at,
        of.type,
    )


def task_id_of(recorded: Recorded) -> str:
    """Of an event of a task."""
    return recorded.stream.partition(":")[2]


def log_data(of: Recorded) -> Log:
    read = _log(of.data)
    return Log(of.execution_id, read.component_id, read.level, read.message, read.metadata)
