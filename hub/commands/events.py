"""`runcast events …`: the log."""

from __future__ import annotations

import asyncio
import sys
from pathlib import Path
from typing import Annotated

import typer

from hub.commands.options import DataDir, fail, nobody_reads, settings_from
from hub.export_options import Compression, Form

app = typer.Typer(no_args_is_help=True, help="Read the log, prove it, and carry it from hub to hub.")


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
    try:
        asyncio.run(
            list_events(
                settings,
                since=since,
                types=split(types),
                execution_id=execution,
                workflow_id=workflow,
                limit=limit,
                is_terminal=sys.stdout.isatty(),
            )
        )
    except InspectError as error:
        fail(str(error))
    except BrokenPipeError:
        nobody_reads()


@app.command()
def export(
    output: Annotated[Path | None, typer.Option("--output", "-o", help="A file; else standard output.")] = None,
    form: Annotated[
        Form, typer.Option("--format", help="ndjson: events as the API shows them; cloudevents: CloudEvents 1.0.")
    ] = Form.NDJSON,
    after: Annotated[int, typer.Option(min=0, help="Start after this position.")] = 0,
    before: Annotated[int | None, typer.Option(min=1, help="Stop before this position.", show_default="all")] = None,
    types: Annotated[str | None, typer.Option(help="Only these types, such as 'execution.*,*.failed'.")] = None,
    execution: Annotated[str | None, typer.Option(help="Only this execution's.")] = None,
    workflow: Annotated[str | None, typer.Option(help="Only this workflow's and its executions'.")] = None,
    organization: Annotated[str | None, typer.Option(help="Only this organization's; its id or name.")] = None,
    start_time: Annotated[str | None, typer.Option(help="From this time on, as 2026-01-31T12:00:00Z.")] = None,
    end_time: Annotated[str | None, typer.Option(help="Before this time.")] = None,
    compress: Annotated[
        Compression | None, typer.Option(help="gzip or none.", show_default="gzip where FILE ends with .gz")
    ] = None,
    data_dir: DataDir = None,
) -> None:
    """Export events, one a line, in order. Works beside a running hub.

    Without filters it is the whole log, which 'runcast events import' brings into an empty hub. The file is as
    secret as a backup; what is sealed in it opens only with the SECRET_KEY of this hub.
    """
    from hub.exports import Selection, export
    from hub.inspect import InspectError

    selection = Selection(
        after=after,
        before=before,
        types=split(types),
        execution_id=execution,
        workflow_id=workflow,
        organization=organization,
        start_time=start_time,
        end_time=end_time,
    )
    is_gzip = None if compress is None else compress is Compression.GZIP
    try:
        done = asyncio.run(
            export(settings_from(data_dir=data_dir), selection, output=output, form=form, compress=is_gzip)
        )
    except InspectError as error:
        fail(str(error))
    except BrokenPipeError:
        nobody_reads()
        return
    if output is not None:
        typer.echo(done.text, err=True)


@app.command("import")
def import_events(
    file: Annotated[Path, typer.Argument(help="A whole export, gzip or not; - for standard input.")] = Path("-"),
    data_dir: DataDir = None,
) -> None:
    """Import a whole export into an empty hub, which must not run. Every line is proved before it is written.

    The hub gets the same events, rows and hashes, a new epoch, and is held: it answers, but runs, deliveries and
    schedules wait until 'runcast take-over'. It needs the SECRET_KEY of the hub that was exported. An import
    that was interrupted goes on when it is run again with the same file.
    """
    from hub.imports import ImportFailed, import_events

    settings = settings_from(data_dir=data_dir)
    try:
        imported = asyncio.run(import_events(settings, None if str(file) == "-" else file))
    except ImportFailed as error:
        fail(str(error))
    typer.echo(imported.text(settings.data_dir))


@app.command()
def verify(
    first: Annotated[
        int, typer.Option("--from", min=1, help="Begin here, chained from the hash that the event before claims.")
    ] = 1,
    last: Annotated[int | None, typer.Option("--to", min=1, help="End here.", show_default="the head")] = None,
    data_dir: DataDir = None,
) -> None:
    """Prove the log: dense positions, time that never runs backwards, an unbroken chain of hashes.

    Prints the count and the head, or names the first bad position and exits 1. Works beside a running hub, on all
    processors; events whose data was archived are proved by its digest.
    """
    from hub.inspect import InspectError
    from hub.progress import shown
    from hub.proof import told, verify

    settings = settings_from(data_dir=data_dir)
    try:
        with shown("events") as progress:
            proof = asyncio.run(verify(settings, first, last, progress=progress))
    except InspectError as error:
        fail(str(error))
    typer.echo(told(proof))
    raise typer.Exit(0 if proof.flaw is None else 1)


@app.command()
def replay(
    webhook: Annotated[str | None, typer.Option(help="Send it to this webhook; its id.")] = None,
    follow: Annotated[
        bool, typer.Option("--follow", help="Print its events, and give it a channel for subscribers.")
    ] = False,
    first: Annotated[
        str | None, typer.Option("--from", help="A position or a time, inclusive.", show_default="the beginning")
    ] = None,
    last: Annotated[
        str | None, typer.Option("--to", help="A position or a time, inclusive.", show_default="the head")
    ] = None,
    types: Annotated[
        str | None,
        typer.Option(
            help="Only these types, such as 'execution.*,*.failed'.", show_default="all, or the webhook's own"
        ),
    ] = None,
    execution: Annotated[str | None, typer.Option(help="Only this execution's.")] = None,
    workflow: Annotated[str | None, typer.Option(help="Only this workflow's and its executions'.")] = None,
    organization: Annotated[
        str | None, typer.Option(help="Whose; its id or name.", show_default="the webhook's, or the only one")
    ] = None,
    cancel: Annotated[str | None, typer.Option(help="End the replay with this id instead.")] = None,
    data_dir: DataDir = None,
) -> None:
    """Replay a span of the log, to a webhook or to be followed. Works beside a running hub.

    Every delivery and message of it is marked; nobody else hears of it. The hub does it, also once this command is
    gone: Ctrl-C leaves it running, --cancel ends it.
    """
    if sum((webhook is not None, follow, cancel is not None)) != 1:
        fail("say one of --webhook ID, --follow, --cancel ID", 2)
    from hub.commands import replay as job

    settings = settings_from(data_dir=data_dir)
    if cancel is not None:
        job.cancel(settings, cancel)
        return
    wish = {
        "organization": organization,
        "webhook_id": webhook,
        "first": first,
        "last": last,
        "types": split(types),
        "execution_id": execution,
        "workflow_id": workflow,
    }
    job.start(settings, wish)


def split(types: str | None) -> tuple[str, ...]:
    return tuple(filter(None, (part.strip() for part in (types or "").split(","))))
