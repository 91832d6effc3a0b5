"""`runcast events replay`: a job, and what comes of it, followed beside the hub that does it."""

from __future__ import annotations

import asyncio
import sys
from typing import Any, Final

from executor.domain.errors import Unavailable
from executor.ports import EventQuery
from hub.inspect import InspectError, opened_reader, print_event
from hub.operator import asked
from hub.patterns import wanted_types
from hub.progress import Progress
from hub.settings import Settings

_PAUSE_SECONDS: Final = (0.1, 1.0)
_PAGE: Final = 500


class NobodyRuns(Exception):
    """No hub runs on this data: the job waits for one."""


async def ended(settings: Settings, id: str, progress: Progress) -> dict[str, Any]:
    """The job, once it has ended. Raises `NobodyRuns`, and `OperatorError`."""
    pause, longest = _PAUSE_SECONDS
    while True:
        answer = await asked(settings, "show_replay", id=id)
        job: dict[str, Any] = answer["replay"]
        progress(job["progress"]["position"] - job["from"] + 1, job["to"] - job["from"] + 1)
        if job["completed_at"] is not None:
            return job
        if not answer["is_served"]:
            raise NobodyRuns
        await asyncio.sleep(pause)
        pause = min(pause * 2, longest)


async def print_events(settings: Settings, job: dict[str, Any], organization_id: str) -> None:
    """Prints a replay's events: lines to read on a terminal, NDJSON elsewhere. Raises `InspectError`."""
    is_terminal, after = sys.stdout.isatty(), job["from"] - 1
    store = await opened_reader(settings)
    try:
        while True:
            found = await store.log.read(
                EventQuery(
                    after=after,
                    before=job["to"] + 1,
                    types=wanted_types(job["types"]),
                    organization_id=organization_id,
                    workflow_id=job["workflow_id"],
                    execution_id=job["execution_id"],
                    limit=_PAGE,
                )
            )
            for recorded in found:
                if recorded.data:
                    print_event(recorded, is_terminal, job["id"])
            if len(found) < _PAGE:
                break
            after = found[-1].position
        sys.stdout.flush()
    except Unavailable as error:
        raise InspectError(str(error)) from None
    finally:
        await store.close()
