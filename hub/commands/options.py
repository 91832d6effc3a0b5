"""What the commands share: options, settings, how they fail."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, NoReturn

import typer

if TYPE_CHECKING:
    from hub.settings import Settings

DataDir = Annotated[
    Path | None,
    typer.Option("--data-dir", help="Directory of the embedded hub.", show_default="./runcast-data"),
]


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
