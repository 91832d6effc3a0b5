"""`runcast projections …`: what follows from the log."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Annotated

import typer

from hub.commands.options import DataDir, fail, settings_from

if TYPE_CHECKING:
    from hub.rebuild import Report

app = typer.Typer(no_args_is_help=True, help="Rows and names, which follow from the log.")


@app.callback()
def group() -> None:
    """Rows and names, which follow from the log."""


@app.command()
def rebuild(
    name: Annotated[str | None, typer.Argument(help="One table, such as executions.", show_default="all")] = None,
    check: Annotated[bool, typer.Option("--check", help="Only compare; exit 1 where anything differs.")] = False,
    data_dir: DataDir = None,
) -> None:
    """Fold rows and names again from the log, and put right what differs. Works beside a running hub.

    Appends go on meanwhile. Stopped at any moment, the next call goes on where it was. No event is appended, and
    nothing is sent. What retention archived stays as it is.
    """
    from hub.progress import shown
    from hub.rebuild import RebuildFailed, tables_named
    from hub.rebuild import check as compare
    from hub.rebuild import rebuild as put_right

    settings = settings_from(data_dir=data_dir)
    try:
        tables_named(name)
    except RebuildFailed as error:
        fail(str(error), 2)
    try:
        with shown("events") as progress:
            report = asyncio.run((compare if check else put_right)(settings, name, progress=progress))
    except RebuildFailed as error:
        fail(str(error))
    except KeyboardInterrupt:
        fail("stopped" if check else "stopped; the next call goes on where this one was")
    tell(report, is_check=check)
    raise typer.Exit(1 if report.failures or (check and report.counts) else 0)


def tell(report: Report, *, is_check: bool) -> None:
    """What differs, row by row, then how much, and how fast that went."""
    if is_check:
        for row in report.differences:
            what = f"changed: {', '.join(row.columns)}" if row.columns else row.how
            typer.echo(f"{row.table} {' '.join(row.key)}  {what}")
        more = sum(report.counts.values()) - len(report.differences)
        if more > 0:
            typer.echo(f"and {more} more")
    for failure in report.failures:
        typer.echo(f"left as it is: {failure.stream}: {failure.reason}", err=True)
    if report.since is not None:
        typer.echo(f"went on with what was begun at {report.since}")
    counts = ", ".join(f"{count} of {table}" for table, count in report.counts.items())
    said = "rows that differ" if is_check else "rows put right"
    typer.echo(f"{said}: {counts}" if counts else "all rows are as the log says")
    seconds = max(report.seconds, 1e-9)
    typer.echo(f"{report.events} events in {report.seconds:.2f} s: {report.events / seconds:,.0f}/s")
