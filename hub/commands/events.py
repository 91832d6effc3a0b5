"""`runcast events …`: the log."""

from __future__ import annotations

import asyncio
import os
import sys
from typing import Annotated

import typer

from hub.commands.options import DataDir, fail, settings_from

app = typer.Typer(no_args_is_help=True, help="Read the log, and prove it.")


@app.command("list")
def list_events(
    since: Annotated[int, typer.Option(help="Start after this position.")] = 0,
    types: Annotated[str | None, typer.Option(help="Only these types, such as 'execution.*,*.failed'.")] = None,
    execution: Annotated[str | None, typer.Option(help="Only this execution's.")] = None,
    workflow: Annotated[str | None, typer.Option(help="Only this workflow's and its executions'.")] = None,
    limit: Annotated[int | None, typer.Option(min=1, help="At most so many.", show_default="all")] = None,
    data_dir: DataDir = None,
) -> None:
    """List events in order: a table on a terminal, NDJSON when piped. Works beside a running hub."""
    from hub.inspect import InspectError, list_events

    settings = settings_from(data_dir=data_dir)
    patterns = tuple(filter(None, (part.strip() for part in (types or "").split(","))))
    try:
        asyncio.run(
            list_events(
                settings,
                since=since,
                types=patterns,
                execution_id=execution,
                workflow_id=workflow,
                limit=limit,
                is_terminal=sys.stdout.isatty(),
            )
        )
    except InspectError as error:
        fail(str(error))
    except BrokenPipeError:
        # Whoever read has read enough; Python must not complain about the rest at its end.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


@app.command()
def verify(data_dir: DataDir = None) -> None:
    """Prove the log: dense positions, time that never runs backwards, an unbroken chain of hashes.

    Prints the count and the head, or names the first bad position and exits 1. Works beside a running hub.
    """
    from hub.inspect import InspectError, verify

    settings = settings_from(data_dir=data_dir)
    try:
        verdict = asyncio.run(verify(settings))
    except InspectError as error:
        fail(str(error))
    typer.echo(verdict.text)
    raise typer.Exit(0 if verdict.is_good else 1)
