"""`runcast migrate`: the schema of a database brought up to date."""

from __future__ import annotations

import asyncio

import typer

from hub.commands.options import DataDir, fail, settings_from

app = typer.Typer()


@app.command()
def migrate(data_dir: DataDir = None) -> None:
    """Bring the database to this version's schema, forward only, and rebuild rows that mean something else now.

    Exits 0 also where there is nothing to do. An embedded hub brings its schema up to date by itself when it starts.
    On PostgreSQL run it before the processes of a new version; any number may run it at once.
    """
    from executor.domain.errors import Unavailable
    from hub.progress import shown
    from hub.rebuild import RebuildFailed, rebuild_stale
    from hub.wiring import database_url
    from storage.errors import StorageError
    from storage.open import migrate

    settings = settings_from(data_dir=data_dir)
    try:
        steps = asyncio.run(migrate(database_url(settings)))
        for step in steps:
            typer.echo(f"migrated: {step}")
        with shown("events") as progress:
            tables = asyncio.run(rebuild_stale(settings, progress=progress))
    except (StorageError, Unavailable, RebuildFailed) as error:
        fail(str(error))
    for table in tables:
        typer.echo(f"rebuilt: {table}")
    if not steps and not tables:
        typer.echo("nothing to do: the schema is this version's")
