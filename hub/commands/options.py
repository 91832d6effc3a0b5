"""What the commands share: options, settings, how they fail."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, NoReturn

import typer

if TYPE_CHECKING:
    from hub.settings import Settings

DataDir = Annotated[
    Path | None,
    typer.Option("--data-dir", help="Directory of the hub: embedded data, keys.", show_default="./runcast-data"),
]


Host = Annotated[str | None, typer.Option("--host", help="Address to listen on.", show_default="127.0.0.1")]
Port = Annotated[int | None, typer.Option("--port", help="Port; 0 takes a free one.", show_default="8000")]


def fail(message: str, code: int = 1) -> NoReturn:
    typer.echo(f"runcast: {message}", err=True)
    raise typer.Exit(code)


def settings_from(**options: Any) -> Settings:
    """For a command that works on a hub's data itself, and so may log."""
    from hub.logging import configure

    # Standard output is for answers: whoever pipes a key or events away wants nothing else there.
    configure("WARNING")
    return read_settings(**options)


def read_settings(**options: Any) -> Settings:
    from hub.settings import SettingsError, from_environment

    try:
        return from_environment(os.environ, **options)
    except SettingsError as error:
        fail(f"the settings are wrong\n{error}", 2)


def nobody_reads() -> None:
    """Whoever read has read enough; Python must not complain about the rest at its end."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
