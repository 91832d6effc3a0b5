"""What the component types that open tasks have in common. See `executor/domain/task`."""

from __future__ import annotations

from typing import Any, Final

import msgspec

from executor.components.base import ComponentError, Context, Output, Suspend
from executor.domain.errors import Code
from executor.domain.task.decide import Ending, Opening
from executor.domain.task.state import stream
from executor.domain.values import ComponentStatus, derived_id
from executor.opening import Opens

TITLE: Final = {"type": "string", "minLength": 1, "maxLength": 255}
DESCRIPTION: Final = {"type": "string", "maxLength": 4096}
MAX_TASK_BYTES: Final = 1024 * 1024
PRIORITY: Final = {"type": "integer", "minimum": 1, "maximum": 10}


class OpensTask(Opens, frozen=True, kw_only=True):
    """A task to be opened."""

    opening: Opening


def suspended(context: Context, opening: Opening) -> Suspend:
    """Waits for a task that is opened together with the waiting. Its id follows from the attempt. Raises
    `ComponentError` where that says too much."""
    size = len(msgspec.json.encode(opening))
    if size > MAX_TASK_BYTES:
        message = f"the task would have {size} bytes, more than {MAX_TASK_BYTES}"
        raise ComponentError(message, code=Code.OUTPUT_TOO_LARGE)
    id = derived_id(context.execution_id, "task", context.idempotency_key, str(context.attempt))
    return Suspend(signal=stream(id), opens=OpensTask(id=id, opening=opening))


def ended(data: Any) -> Output:
    """What comes of a task that has ended. Raises `ComponentError` where it failed or was cancelled."""
    ending = msgspec.convert(data, Ending)
    if ending.status == ComponentStatus.COMPLETED:
        return Output(ending.output)
    said = f": {ending.error}" if ending.error else ""
    how = "failed" if ending.status == ComponentStatus.FAILED else "was cancelled"
    raise ComponentError(f"the task {how}{said}", temporary=ending.retryable)
