"""Prints an execution's messages from a position on, until it ends: `python examples/watch.py EXECUTION [SINCE]`.

RUNCAST_URL and RUNCAST_API_KEY say where and who.
"""

from __future__ import annotations

import asyncio
import json
import os
import sys

from websockets.asyncio.client import connect

ENDED = {"completed", "failed", "cancelled", "terminated"}


async def watch(execution_id: str, since: int) -> None:
    url = os.environ["RUNCAST_URL"].replace("http", "ws", 1) + "/api/v1/ws"
    async with connect(url, additional_headers={"X-API-Key": os.environ["RUNCAST_API_KEY"]}) as socket:
        wish = {"channel": "execution", "execution_id": execution_id, "since": since}
        await socket.send(json.dumps({"type": "subscribe", "data": wish}))
        async for text in socket:
            message = json.loads(text)
            if message["type"] == "error" and "reply_to" in message["data"]:
                sys.exit(message["data"]["message"])
            if message["type"] == "subscribed" and not message["data"]["recovered"]:
                print(
                    "some of it was archived, or the log is another one: what follows is what is left",
                    file=sys.stderr,
                )
            if "position" in message:
                data = message["data"]
                print(message["position"], message["type"], data.get("component_id", ""), data.get("status", ""))
                if message["type"] == "execution_update" and data["status"] in ENDED:
                    return


if __name__ == "__main__":
    if not (os.environ.get("RUNCAST_URL") and os.environ.get("RUNCAST_API_KEY")):
        sys.exit("set RUNCAST_URL and RUNCAST_API_KEY first, as the README does")
    if len(sys.argv) < 2:
        sys.exit("say which execution: python examples/watch.py EXECUTION [SINCE]")
    asyncio.run(watch(sys.argv[1], int(sys.argv[2]) if len(sys.argv) > 2 else 0))
