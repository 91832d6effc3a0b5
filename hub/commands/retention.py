"""`runcast retention …`: archive what ended long ago."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Annotated, Any

import typer

from hub.commands.options import DataDir, fail, settings_from

app = typer.Typer(no_args_is_help=True, help="Archive executions that ended long ago.")


@app.callback()
def group() -> None:
    """Archive executions that ended long ago."""


@app.command()
def run(
    older_than: Annotated[
        str | None,
        typer.Option(help="How long ago they ended, such as 90d, 12h or 30m.", show_default="RUNCAST_RETENTION_DAYS"),
    ] = None,
    archive_dir: Annotated[
        Path | None,
        typer.Option(
            help="Where the files go.", show_default="RUNCAST_ARCHIVE_DIR, or archive in the data directory"
        ),
    ] = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only say how much there is to archive.")] = False,
    data_dir: DataDir = None,
) -> None:
    """Archive executions into files, then blank their data in the log. Works beside a running hub.

    The log still proves whole: envelopes, ids, versions and the chain of hashes stay. What somebody waits for, such
    as a delivery, is left for later. Running it again is harmless.
    """
    from hub.operator import OperatorError, asked
    from hub.retention import seconds_of

    settings = settings_from(data_dir=data_dir)
    if older_than is None and settings.retention_days is None:
        fail("say --older-than, such as 90d, or set RUNCAST_RETENTION_DAYS", 2)
    try:
        seconds = seconds_of(older_than if older_than is not None else f"{settings.retention_days}d")
    except ValueError as error:
        fail(f"--older-than: {error}", 2)
    directory = archive_dir or settings.archive_dir
    wish = {"older_than": seconds, "directory": str(directory.resolve()) if directory else None, "is_dry": dry_run}
    try:
        report = asyncio.run(asked(settings, "archive", **wish))
    except OperatorError as error:
        fail(str(error))
    _show(report, dry_run)


def _show(report: dict[str, Any], dry_run: bool) -> None:
    executions, events = report["executions"], report["events"]
    what = f"{executions} execution{'s' * (executions != 1)} with {events} events"
    typer.echo(f"{what} would be archived" if dry_run else f"{what} archived")
    for file in report["files"]:
        typer.echo(file)
    if report["broken"]:
        fail(
            f"the data of {len(report['broken'])} executions is not what was appended; they were left as they are: "
            + ", ".join(report["broken"])
        )
