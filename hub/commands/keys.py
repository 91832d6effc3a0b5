"""`runcast keys …`: API keys, for who owns the data."""

from __future__ import annotations

import asyncio
from typing import Annotated

import typer

from hub.commands.options import DataDir, fail, settings_from

app = typer.Typer(no_args_is_help=True, help="API keys, for who owns the data directory.")


@app.command()
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
    from hub.operator import OperatorError, asked

    settings = settings_from(data_dir=data_dir)
    try:
        key = asyncio.run(
            asked(
                settings,
                "create_key",
                name=name,
                organization=organization,
                role=role or (None if permission else "admin"),
                permissions=list(permission or ()),
                expires_at=expires_at,
            )
        )
    except OperatorError as error:
        fail(str(error))
    typer.echo(key)
