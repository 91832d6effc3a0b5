"""`runcast take-over`, `backup`, `move`: a hub's data as a whole."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Annotated

import typer

from hub.commands.options import DataDir, fail, settings_from

app = typer.Typer()


@app.command("take-over")
def take_over(
    new_epoch: Annotated[
        bool,
        typer.Option(
            "--new-epoch", help="For a restored PostgreSQL, before anything starts on it: another epoch too."
        ),
    ] = False,
    data_dir: DataDir = None,
) -> None:
    """Let a held hub run: its executions, deliveries and schedules go on here, for good. Works beside a running hub.

    An imported or restored hub is held, since two hubs must not run the same world: stop the other one first.
    """
    from hub.takeover import TakeOverFailed, take_over

    try:
        typer.echo(asyncio.run(take_over(settings_from(data_dir=data_dir), new_epoch=new_epoch)))
    except TakeOverFailed as error:
        fail(str(error))


@app.command()
def backup(
    directory: Annotated[Path, typer.Argument(help="A new directory for the copy.", show_default=False)],
    data_dir: DataDir = None,
) -> None:
    """Copy an embedded hub's data while it runs: the database as of one moment, proved, and the keys beside it.

    To restore it, start 'runcast up --data-dir' on the copy. It is held until it is taken over, under an epoch of its
    own. For PostgreSQL, docs/operations.md shows base backups.
    """
    from hub.backup import BackupFailed, backup

    try:
        typer.echo(asyncio.run(backup(settings_from(data_dir=data_dir), directory)).text)
    except BackupFailed as error:
        fail(str(error))


@app.command()
def move(
    to: Annotated[str, typer.Option("--to", help="The other store: postgresql://… or sqlite:///path.")],
    data_dir: DataDir = None,
) -> None:
    """Move a whole hub to another, empty store: its log, its ledgers, everything. Stop the hub first.

    RUNCAST_DATABASE_URL or --data-dir says where it is. The copy is proved; then this store is marked as moved, and
    the other one runs, with the same SECRET_KEY. A move that was interrupted goes on when it is run again.
    """
    from hub.move import MoveFailed, move

    try:
        typer.echo(asyncio.run(move(settings_from(data_dir=data_dir), to)).text)
    except MoveFailed as error:
        fail(str(error))
