"""`runcast web`, `executor`, `worker`: one role of a hub, beside others."""

from __future__ import annotations

import typer

from hub.commands.options import fail, settings_from

app = typer.Typer()


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
