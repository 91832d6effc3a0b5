"""`runcast webhooks …`: what is of use to whoever receives them."""

from __future__ import annotations

import asyncio
import os
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Final

import typer

from hub.commands.options import DataDir, fail, nobody_reads

if TYPE_CHECKING:
    from hub.client import ApiError
    from hub.commands.listening import Registration

app = typer.Typer(no_args_is_help=True, help="Receive webhooks while you develop what receives them.")

_SECRETS: Final = "RUNCAST_WEBHOOK_SECRET"
_EVERYWHERE: Final = ("0.0.0.0", "::")  # noqa: S104  (refused, not bound)
_ALLOW: Final = "; start the hub with RUNCAST_EGRESS_ALLOW=127.0.0.0/8, or say by --public-url how it reaches this"


@app.callback()
def group() -> None:
    """One command is a group too: another may come."""


@app.command()
def listen(
    port: Annotated[int, typer.Option(min=0, max=65535, help="Port; 0 takes a free one.")] = 9000,
    host: Annotated[str, typer.Option(help="Address to listen on.")] = "127.0.0.1",
    events: Annotated[
        list[str] | None,
        typer.Option(
            help="Register a webhook for these events, such as 'execution.*', and delete it at the end; repeatable."
        ),
    ] = None,
    public_url: Annotated[
        str | None, typer.Option(help="How the hub reaches this.", show_default="the address that it listens on")
    ] = None,
    secret: Annotated[
        list[str] | None,
        typer.Option(
            help="Verify with this secret or public key (whpk_…); repeatable.",
            show_default=f"{_SECRETS}, one a line",
        ),
    ] = None,
    status: Annotated[
        int | None, typer.Option(min=200, max=599, help="Answer with this status.", show_default="200")
    ] = None,
    delay: Annotated[float, typer.Option(min=0, help="Answer after so many seconds.")] = 0.0,
    forward: Annotated[
        str | None, typer.Option(metavar="URL", help="Hand each on to this URL, and answer what it answers.")
    ] = None,
    count: Annotated[int | None, typer.Option(min=1, help="End after so many.", show_default="never")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print one line of JSON for each that arrives.")] = False,
    url: Annotated[str | None, typer.Option(help="Which hub, with --events.", show_default="RUNCAST_URL")] = None,
    api_key: Annotated[
        str | None, typer.Option(help="Who asks, with --events.", show_default="RUNCAST_API_KEY")
    ] = None,
    data_dir: DataDir = None,
) -> None:
    """Print the webhooks that arrive at a local port, each with its verification: for development.

    With --events it registers itself with a hub for as long as it runs: --url, or RUNCAST_URL, or the hub that runs
    on --data-dir. To see retries, let it fail: --status 500. Ctrl-C ends it.
    """
    from hub.client import ApiError, ClientError
    from hub.commands.listening import CannotListen, Wish, check, listen

    if forward is not None and not forward.startswith(("http://", "https://")):
        fail("--forward: the URL must begin with http:// or https://", 2)
    if forward is not None and status is not None:
        fail("with --forward it is not for --status to say what is answered", 2)
    if not events and (public_url or url or api_key):
        fail("--public-url, --url and --api-key are for --events, with which it registers a webhook", 2)
    if events and host in _EVERYWHERE and public_url is None:
        fail(f"--host {host} is no address that a hub can send to: say one by --public-url", 2)
    registration = _registration(events, public_url, url, api_key, data_dir) if events else None
    secrets = secret or os.environ.get(_SECRETS, "").splitlines()
    wish = Wish(
        host=host, port=port, status=status or 200, delay=delay, forward=forward, count=count, as_json=as_json
    )
    try:
        check(secrets)
        asyncio.run(listen(wish, secrets, registration))
    except ApiError as error:
        fail(_refused(error))
    except ValueError as error:
        fail(str(error), 2)
    except (ClientError, CannotListen) as error:
        fail(str(error))
    except BrokenPipeError:
        nobody_reads()


def _registration(
    events: list[str], public_url: str | None, url: str | None, api_key: str | None, data_dir: Path | None
) -> Registration:
    from hub.commands.events import split
    from hub.commands.listening import Registration
    from hub.commands.tail import hub_of

    patterns = tuple(pattern for each in events for pattern in split(each) or ())
    return Registration(hub=hub_of(url, api_key, data_dir), events=patterns, public_url=public_url)


def _refused(error: ApiError) -> str:
    """All that the hub finds wrong, and what to do about an address that it does not send to."""
    said = "; ".join(each.message if each.field is None else f"{each.field}: {each.message}" for each in error.errors)
    return f"the hub says: {said or error.message}{_ALLOW if error.field == 'url' else ''}"
