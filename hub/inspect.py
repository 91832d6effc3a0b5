"""Reading the log from the command line, read-only, beside a running hub or without one."""

from __future__ import annotations

import sys
from pathlib import Path
from urllib.parse import quote

import msgspec

from executor.clock import SystemClock
from executor.domain.errors import Invalid, Unavailable
from executor.ports import EventQuery, Recorded
from hub.messages import event_json
from hub.patterns import wanted_types
from hub.settings import Settings
from storage.errors import StorageError
from storage.open import is_postgres, open_reader, sqlite_path
from storage.postgres.store import PostgresStore
from storage.sqlite.store import ReadOnlyStore

Reader = ReadOnlyStore | PostgresStore

_PAGE = 500


class InspectError(Exception):
    """The log cannot be read; says why."""


def database_path(settings: Settings) -> Path:
    """Raises `InspectError` where the settings name no SQLite file, or one that is not there."""
    try:
        path = sqlite_path(settings.database_url) if settings.database_url else settings.data_dir / "runcast.db"
    except StorageError as error:
        raise InspectError(str(error)) from None
    if not path.exists():
        message = f"there is no hub's data at '{path.parent}'; say --data-dir, or start one with 'runcast up'"
        raise InspectError(message)
    return path


def log_url(settings: Settings) -> str:
    """The URL of a log that is there. Raises `InspectError`."""
    if settings.database_url is not None and is_postgres(settings.database_url):
        return settings.database_url
    return f"sqlite:///{quote(str(database_path(settings).resolve()))}"


async def opened_reader(settings: Settings) -> Reader:
    """The log behind the settings, beside whoever writes it. Raises `InspectError`."""
    try:
        return await open_reader(log_url(settings), clock=SystemClock())
    except (StorageError, Unavailable) as error:
        raise InspectError(str(error)) from None


async def list_events(
    settings: Settings,
    *,
    since: int,
    types: tuple[str, ...],
    execution_id: str | None,
    workflow_id: str | None,
    limit: int | None,
    is_terminal: bool,
) -> None:
    """Prints events in order: lines to read on a terminal, NDJSON elsewhere."""
    try:
        wanted = wanted_types(types, "--types")
    except Invalid as invalid:
        raise InspectError(str(invalid)) from None
    store = await opened_reader(settings)
    try:
        left = limit
        while left is None or left > 0:
            size = _PAGE if left is None else min(left, _PAGE)
            found = await store.log.read(
                EventQuery(after=since, types=wanted, execution_id=execution_id, workflow_id=workflow_id, limit=size)
            )
            for recorded in found:
                print_event(recorded, is_terminal)
            if len(found) < size:
                break
            since = found[-1].position
            left = None if left is None else left - len(found)
        sys.stdout.flush()
    except Unavailable as error:
        raise InspectError(str(error)) from None
    finally:
        await store.close()


def print_event(recorded: Recorded, is_terminal: bool, replay_id: str | None = None) -> None:
    """A line to read, or the whole event as JSON, which `replay_id` marks."""
    if not is_terminal:
        sys.stdout.write(event_json(recorded, replay_id).decode() + "\n")
        return
    data = msgspec.json.decode(recorded.data) if recorded.data else {"name": "(archived)"}
    what = data.get("component_id") or data.get("workflow_name") or data.get("name") or ""
    stream = recorded.stream
    sys.stdout.write(f"{recorded.position:>8}  {recorded.time}  {recorded.type:<26} {stream:<37} {what}\n")
