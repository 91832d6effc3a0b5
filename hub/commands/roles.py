"""`runcast web`, `executor`, `worker`: one role of a hub, beside others; and how any process of one starts."""

from __future__ import annotations

from typing import TYPE_CHECKING

import typer

from hub.commands.options import DataDir, Host, Port, fail, settings_from

if TYPE_CHECKING:
    from hub.settings import Settings

app = typer.Typer()


def start(settings: Settings, role: str | None = None) -> None:
    """All roles, or one of them, until a signal."""
    from hub.process import StartError, run
    from hub.roles import ALL, Role

    try:
        run(settings, ALL if role is None else frozenset({Role(role)}))
    except StartError as error:
        fail(str(error), error.code)


@app.command()
def web(host: Host = None, port: Port = None, data_dir: DataDir = None) -> None:
    """Run only the API and the sockets, beside executors and workers. Any number of them.

    Needs PostgreSQL and Redis: RUNCAST_DATABASE_URL=postgresql://… and RUNCAST_REDIS_URL, the same for all processes.
    """
    start(settings_from(host=host, port=port, data_dir=data_dir), "web")


@app.command()
def executor(data_dir: DataDir = None) -> None:
    """Run only the engine, which runs executions. Any number of them; what one leaves behind, the others go on with.

    Needs PostgreSQL and Redis: RUNCAST_DATABASE_URL=postgresql://… and RUNCAST_REDIS_URL, the same for all processes.
    """
    start(settings_from(data_dir=data_dir), "executor")


@app.command()
def worker(data_dir: DataDir = None) -> None:
    """Run only the webhook deliveries. Any number of them.

    Needs PostgreSQL and Redis: RUNCAST_DATABASE_URL=postgresql://… and RUNCAST_REDIS_URL, the same for all processes.
    """
    start(settings_from(data_dir=data_dir), "worker")
