"""`runcast tail`: a channel's live messages in the terminal, or as NDJSON for whatever reads them."""

from __future__ import annotations

import asyncio
import os
from pathlib import Path
from typing import Annotated, Final, NamedTuple

import typer

from hub.commands.options import DataDir, fail, nobody_reads

app = typer.Typer()

_KEYS: Final = {
    "execution": "execution_id",
    "workflow": "workflow_id",
    "task": "task_id",
    "webhook": "webhook_id",
    "replay": "replay_id",
}
_ALONE: Final = ("events", "system")
_ASSIGNEE: Final = "assignee:"


class Hub(NamedTuple):
    url: str
    api_key: str

    def __repr__(self) -> str:
        return f"Hub({self.url!r}, …)"


@app.command()
def tail(
    channel: Annotated[
        str,
        typer.Argument(
            metavar="CHANNEL",
            help="events, system, execution:ID, workflow:ID, task:ID, task:assignee:NAME, webhook:ID or replay:ID; "
            "without an ID, all there are.",
        ),
    ] = "events",
    since: Annotated[
        int | None,
        typer.Option(min=0, help="Start after this position; 0 is the beginning.", show_default="the head"),
    ] = None,
    types: Annotated[str | None, typer.Option(help="Only these types, such as 'execution.*,*.failed'.")] = None,
    filter: Annotated[str | None, typer.Option(help="Only what this CEL condition holds for.")] = None,
    url: Annotated[str | None, typer.Option(help="Which hub.", show_default="RUNCAST_URL")] = None,
    api_key: Annotated[str | None, typer.Option(help="Who asks.", show_default="RUNCAST_API_KEY")] = None,
    data_dir: DataDir = None,
) -> None:
    """Follow a channel: lines on a terminal, NDJSON when piped. Nothing is lost or repeated when the hub restarts.

    Without --url or RUNCAST_URL it is the hub that runs on --data-dir, with its first key. Ctrl-C ends it.
    """
    from hub.client import ApiError, ClientError, Misused
    from hub.commands.following import follow

    kind, keys = channel_of(channel)
    hub = hub_of(url, api_key, data_dir)
    try:
        asyncio.run(follow(hub.url, hub.api_key, kind, keys, since=since, types=types, filter=filter))
    except ApiError as error:
        fail(f"{hub.url}: {error.message}")
    except Misused as error:
        fail(str(error), 2)
    except ClientError as error:
        fail(str(error))
    except BrokenPipeError:
        nobody_reads()


def channel_of(text: str) -> tuple[str, dict[str, str]]:
    """The kind of a channel, and its key."""
    kind, _, id = text.partition(":")
    if kind in _ALONE and not id:
        return kind, {}
    if kind == "task" and id.startswith(_ASSIGNEE) and id != _ASSIGNEE:
        return kind, {"assignee": id.removeprefix(_ASSIGNEE)}
    if kind not in _KEYS or (kind == "replay" and not id):
        known = ", ".join((*_ALONE, *(f"{each}:ID" for each in _KEYS), "task:assignee:NAME"))
        fail(f"there is no channel '{text}'; there are {known}", 2)
    return kind, {_KEYS[kind]: id or "*"}


def hub_of(url: str | None, api_key: str | None, data_dir: Path | None) -> Hub:
    """The one that was named; else the one of a data directory, with the key that is kept there. What is said counts
    more than what the environment says."""
    if data_dir is None:
        url = url or os.environ.get("RUNCAST_URL")
        api_key = api_key or os.environ.get("RUNCAST_API_KEY")
    if not url:
        return _running(api_key, data_dir)
    if not api_key:
        fail("say who asks: --api-key, or RUNCAST_API_KEY", 2)
    return Hub(url, api_key)


def _running(api_key: str | None, data_dir: Path | None) -> Hub:
    from hub.commands.options import read_settings
    from hub.credentials import read_credentials
    from hub.inspect import InspectError, database_path
    from storage.lock import holder
    from storage.open import is_postgres

    settings = read_settings(data_dir=data_dir)
    if settings.database_url is not None and is_postgres(settings.database_url):
        fail("say which hub: --url, or RUNCAST_URL", 2)
    try:
        path = database_path(settings)
    except InspectError as error:
        fail(f"{error}; or say another hub's --url")
    address = holder(path.with_name(path.name + ".lock")).address
    if address is None:
        fail(f"no hub runs on '{settings.data_dir}'; start it with 'runcast up', or say another one's --url")
    kept = read_credentials(settings.data_dir)
    api_key = api_key or (None if kept is None else kept.api_key)
    if api_key is None:
        fail("say who asks: --api-key, or RUNCAST_API_KEY", 2)
    return Hub(address, api_key)
