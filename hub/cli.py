"""The `runcast` command. Heavy imports wait until a command needs them, so that `--help` answers at once."""

from __future__ import annotations

import asyncio
from typing import Annotated

import typer

from hub.commands import (
    data,
    events,
    keys,
    migrate,
    organizations,
    projections,
    retention,
    roles,
    tail,
    webhooks,
)
from hub.commands.options import DataDir, Host, Port, settings_from

app = typer.Typer(
    name="runcast",
    help="Runcast runs workflows, keeps every fact in one durable log, and casts that log to REST, WebSocket and "
    "signed webhooks.",
    no_args_is_help=True,
    add_completion=False,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
    epilog="Settings are environment variables: RUNCAST_HOST, RUNCAST_PORT, RUNCAST_SECRET_KEY, RUNCAST_LOG_LEVEL, "
    "RUNCAST_EGRESS_ALLOW and more; docs/configuration.md lists them.",
)
app.add_typer(roles.app)
app.add_typer(migrate.app)
app.add_typer(data.app)
app.add_typer(tail.app)
app.add_typer(events.app, name="events")
app.add_typer(keys.app, name="keys")
app.add_typer(organizations.app, name="organizations")
app.add_typer(projections.app, name="projections")
app.add_typer(retention.app, name="retention")
app.add_typer(webhooks.app, name="webhooks")


def main() -> None:
    """The entry point: what a person did wrong ends with a line, not with a traceback."""
    app()


def version(value: bool) -> None:
    if value:
        from hub.settings import VERSION

        typer.echo(f"runcast {VERSION}")
        raise typer.Exit


@app.callback()
def root(
    version: Annotated[
        bool, typer.Option("--version", callback=version, is_eager=True, help="Show the version and exit.")
    ] = False,
) -> None:
    """Runcast runs workflows, keeps every fact in one durable log, and casts that log everywhere."""


@app.command()
def up(
    host: Host = None,
    port: Port = None,
    data_dir: DataDir = None,
    take_over: Annotated[
        bool, typer.Option("--take-over", help="Let an imported, restored or moved hub run here, for good.")
    ] = False,
) -> None:
    """Run the whole hub in one process: SQLite, an embedded Valkey, nothing else needed.

    With RUNCAST_DATABASE_URL=postgresql://… it keeps the log there, with RUNCAST_REDIS_URL it brings no Valkey.
    The first start makes an admin API key, shows it once, and keeps it in DATA_DIR/credentials.json.
    Ctrl-C or SIGTERM stops it cleanly; started again on the same directory it goes on where it was.
    """
    roles.start(settings_from(host=host, port=port, data_dir=data_dir, take_over=take_over))


@app.command()
def demo(
    keep: Annotated[
        bool, typer.Option("--keep", help="Keep the demo's data directory, and say where it is.")
    ] = False,
) -> None:
    """See the main job done: a fresh hub, a workflow, live messages, a signed webhook, a replay.

    Everything is real: HTTP, WebSocket, a receiver that verifies signatures. Exits 0 only if all of it happened.
    """
    from hub.demo import run

    raise typer.Exit(asyncio.run(run(keep=keep)))


if __name__ == "__main__":
    main()
