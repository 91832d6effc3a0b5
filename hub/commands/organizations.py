"""`runcast organizations …`: organizations and their data keys, for who owns the data."""

from __future__ import annotations

import asyncio
import json
import sys
from typing import Annotated, Any

import typer

from hub.commands.options import DataDir, fail, settings_from

app = typer.Typer(no_args_is_help=True, help="Organizations: their plans and data keys, for who owns the data.")
Name = Annotated[str, typer.Argument(help="The organization's name.")]


@app.command("list")
def list_organizations(data_dir: DataDir = None) -> None:
    """List organizations: a table on a terminal, NDJSON when piped."""
    for each in _asked(data_dir, "list_organizations"):
        if sys.stdout.isatty():
            key = "has its key" if each["has_key"] else "its key was forgotten"
            typer.echo(f"{each['id']}  {each['created_at']}  {key:<21}  {each['plan']:<10}  {each['name']}")
        else:
            typer.echo(json.dumps(each, ensure_ascii=False))


@app.command("plan")
def plan(
    name: Name,
    plan: Annotated[str, typer.Argument(help="free, pro, enterprise, unlimited, or custom.")],
    runs_at_once: Annotated[
        int | None, typer.Option("--runs-at-once", help="How many executions may run at once, with the plan custom.")
    ] = None,
    data_dir: DataDir = None,
) -> None:
    """Give an organization a plan: how many of its executions may run at once. It holds within seconds."""
    now = _asked(data_dir, "set_plan", name=name, plan=plan, runs_at_once=runs_at_once)
    most = "any number of" if now["runs_at_once"] is None else f"at most {now['runs_at_once']}"
    typer.echo(f"Organization '{name}' runs {most} executions at once.")


@app.command("forget-key")
def forget_key(
    name: Name,
    yes: Annotated[bool, typer.Option("--yes", help="Do not ask.")] = False,
    data_dir: DataDir = None,
) -> None:
    """Forget an organization's data key, and with it all that is sealed for it, for ever.

    Webhook secrets, credentials and secret parameters, in the log, in archives and in backups made from now on,
    can never be opened again. Backups made before still hold the key, sealed by the secret key.
    """
    if not yes:
        typer.confirm(
            f"All that is sealed for organization '{name}' will be lost for ever. Forget its key?",
            abort=True,
            err=True,
        )
    _asked(data_dir, "forget_key", name=name)
    typer.echo(f"The key of organization '{name}' is forgotten.")


@app.command("new-key")
def new_key(name: Name, data_dir: DataDir = None) -> None:
    """Give an organization whose key was forgotten a new one, so that it can seal again."""
    _asked(data_dir, "new_key", name=name)
    typer.echo(f"Organization '{name}' has a new key.")


def _asked(data_dir: DataDir, command: str, **wish: Any) -> Any:
    from hub.operator import OperatorError, asked

    settings = settings_from(data_dir=data_dir)
    try:
        return asyncio.run(asked(settings, command, **wish))
    except OperatorError as error:
        fail(str(error))
