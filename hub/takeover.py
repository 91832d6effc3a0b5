"""`runcast take-over`: a held hub is let go, through the running hub or on the store where none runs."""

from __future__ import annotations

from executor.clock import SystemClock
from executor.domain.errors import Unavailable
from hub import control, held
from hub.aggregates import AGGREGATES
from hub.settings import Settings
from hub.wiring import database_url
from storage.errors import Locked, StorageError
from storage.open import open_store


class TakeOverFailed(Exception):
    """The hub was not taken over; says why."""


async def take_over(settings: Settings, *, new_epoch: bool) -> str:
    """What was done, for people. With `new_epoch` nothing may run on the store: an epoch is read at the start."""
    try:
        store = await open_store(database_url(settings), AGGREGATES, clock=SystemClock(), makes=False)
    except Locked as locked:
        if new_epoch:
            raise TakeOverFailed(f"{locked}; a new epoch needs a hub that is stopped") from None
        return await _through_the_hub(settings, locked)
    except (StorageError, Unavailable, OSError) as error:
        raise TakeOverFailed(str(error)) from None
    try:
        was_held = await held.take_over(store)
        if not new_epoch:
            return _said(was_held)
        return f"{_said(was_held)}; the log's epoch is {await store.copying.new_epoch()} now"
    except (StorageError, Unavailable) as error:
        raise TakeOverFailed(str(error)) from None
    finally:
        await store.close()


async def _through_the_hub(settings: Settings, locked: Locked) -> str:
    try:
        return _said(await control.ask(settings.data_dir, "take_over"))
    except control.ControlError as error:
        raise TakeOverFailed(str(error)) from None
    except OSError:
        raise TakeOverFailed(f"{locked}, and it does not answer here; try again in a moment") from None


def _said(was_held: bool) -> str:
    return "the hub is taken over: runs, deliveries and schedules go on here" if was_held else "the hub is not held"
