"""The `runcast` command. Heavy imports wait until a command needs them, so that `--help` answers at once."""

from __future__ import annotations

import asyncio
import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, NoReturn

import typer

if TYPE_CHECKING:
    from hub.settings import Settings

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
events_app = typer.Typer(no_args_is_help=True, help="Read the log, and prove it.")
keys_app = typer.Typer(no_args_is_help=True, help="API keys, for who owns the data directory.")
app.add_typer(events_app, name="events")
app.add_typer(keys_app, name="keys")

DataDir = Annotated[
    Path | None,
    typer.Option("--data-dir", help="Directory of the embedded hub.", show_default="./runcast-data"),
]


def main() -> None:
    """The entry point: what a person did wrong ends with a line, not with a traceback."""
    app()


def fail(message: str, code: int = 1) -> NoReturn:
    typer.echo(f"runcast: {message}", err=True)
    raise typer.Exit(code)


def settings_from(**options: Any) -> Settings:
    from hub.logging import configure
    from hub.settings import SettingsError, from_environment

    # Standard output is for answers: whoever pipes a key or events away wants nothing else there.
    configure("WARNING")
    try:
        return from_environment(os.environ, **options)
    except SettingsError as error:
        fail(f"the settings are wrong\n{error}", 2)


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
    host: Annotated[str | None, typer.Option(help="Address to listen on.", show_default="127.0.0.1")] = None,
    port: Annotated[int | None, typer.Option(help="Port; 0 takes a free one.", show_default="8000")] = None,
    data_dir: DataDir = None,
) -> None:
    """Run the whole hub in one process: SQLite, an embedded Valkey, nothing else needed.

    The first start makes an admin API key, shows it once, and keeps it in DATA_DIR/credentials.json.
    Ctrl-C or SIGTERM stops it cleanly; started again on the same directory it goes on where it was.
    """
    from hub.up import UpError, run

    settings = settings_from(host=host, port=port, data_dir=data_dir)
    try:
        run(settings)
    except UpError as error:
        fail(str(error))


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


def _role(name: str) -> None:
    settings = settings_from()
    if not (settings.database_url or "").startswith("postgresql://"):
        fail(
            f"'{name}' runs one role beside others, and an SQLite log has room for one process only; use "
            "'runcast up', which runs all roles in one"
        )
    fail(f"'{name}' needs the PostgreSQL store, which is not in this version; use 'runcast up'")


@app.command()
def web() -> None:
    """Run only the API and the sockets (needs PostgreSQL and Redis)."""
    _role("web")


@app.command()
def executor() -> None:
    """Run only the engine (needs PostgreSQL and Redis)."""
    _role("executor")


@app.command()
def worker() -> None:
    """Run only the webhook deliveries (needs PostgreSQL and Redis)."""
    _role("worker")


@events_app.command("list")
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


@events_app.command()
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


@keys_app.command()
def create(
    name: Annotated[str, typer.Option(help="What the key is for.")],
    organization: Annotated[
        str, typer.Option(help="Whose key it is; made if it is new.", show_default="default")
    ] = "default",
    role: Annotated[str | None, typer.Option(help="admin, read_write or read_only.")] = None,
    permission: Annotated[
        list[str] | None, typer.Option(help="A permission such as workflow.read or execution.*; may be repeated.")
    ] = None,
    expires_at: Annotated[str | None, typer.Option(help="When it ends, as 2026-12-31T23:59:59Z.")] = None,
    data_dir: DataDir = None,
) -> None:
    """Create an API key and print it, and nothing else. Works beside a running hub.

    Without --role and --permission the key is an admin's.
    """
    from hub.operator import OperatorError, create_key

    settings = settings_from(data_dir=data_dir)
    try:
        key = asyncio.run(
            create_key(
                settings,
                name=name,
                organization=organization,
                role=role or (None if permission else "admin"),
                permissions=tuple(permission or ()),
                expires_at=expires_at,
            )
        )
    except OperatorError as error:
        fail(str(error))
    typer.echo(key)


if __name__ == "__main__":
    main()
