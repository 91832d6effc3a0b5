"""What `runcast events replay` does and says. Imported only when it is called."""

from __future__ import annotations

import asyncio
from typing import Any

import typer

from hub.commands.options import fail, nobody_reads
from hub.inspect import InspectError
from hub.operator import OperatorError, asked
from hub.progress import shown
from hub.replay_watch import NobodyRuns, ended, print_events
from hub.settings import Settings


def start(settings: Settings, wish: dict[str, Any]) -> None:
    """Starts a replay and stays with it: to a webhook until it has ended, else until its events are printed."""
    answer = _asked(settings, "start_replay", **wish)
    job = answer["replay"]
    typer.echo(f"replay {job['id']} of positions {job['from']} through {job['to']}", err=True)
    try:
        if wish["webhook_id"] is None:
            asyncio.run(print_events(settings, job, answer["organization_id"]))
            return
        with shown("positions") as progress:
            job = asyncio.run(ended(settings, job["id"], progress))
    except NobodyRuns:
        typer.echo("no hub runs on this data: it goes on when one does", err=True)
        return
    except KeyboardInterrupt:
        fail(f"the replay goes on without this command; 'runcast events replay --cancel {job['id']}' ends it")
    except (InspectError, OperatorError) as error:
        fail(str(error))
    except BrokenPipeError:
        nobody_reads()
        return
    said = f"{job['status']}, {job['progress']['processed']} events sent"
    if job["status"] != "completed":
        fail(f"the replay {said}" if job["error"] is None else f"the replay {said}: {job['error']}")
    typer.echo(said)


def cancel(settings: Settings, id: str) -> None:
    job = _asked(settings, "cancel_replay", id=id)["replay"]
    typer.echo(f"cancelled at position {job['progress']['position']}")


def _asked(settings: Settings, command: str, **wish: Any) -> Any:
    try:
        return asyncio.run(asked(settings, command, **wish))
    except OperatorError as error:
        fail(str(error))
