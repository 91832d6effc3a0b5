"""Extract, transform, load: `python examples/etl.py`.

A shop on this machine is read page by page, three pages at once, and brought to a warehouse together with a rate
that another branch fetched. One page fails at first, and is tried again by itself; the warehouse refuses, and the run
fails; when the warehouse is mended the run goes on from there, and reads nothing twice. RUNCAST_URL and
RUNCAST_API_KEY say where the hub is and who asks. Everything is taken away again; the exit code is 0 if all of it was
seen to happen.
"""

from __future__ import annotations

import json
import os
import sys
import threading
import time
import urllib.request
from collections import Counter
from contextlib import ExitStack
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

PAGES, AT_ONCE, FLAKY = 8, 3, 5
RATE = 2


class World:
    """The shop and the warehouse, and what they saw."""

    def __init__(self) -> None:
        self.lock = threading.Lock()
        self.read: Counter[int] = Counter()
        self.keys: list[str] = []
        self.open = self.most = self.rates = 0
        self.is_mended = False
        self.loaded: list[dict[str, Any]] = []

    def page(self, number: int, key: str) -> tuple[int, Any]:
        with self.lock:
            self.open += 1
            self.most = max(self.most, self.open)
        time.sleep(0.05)
        with self.lock:
            self.open -= 1
            if number == FLAKY:
                self.keys.append(key)
                if len(self.keys) == 1:
                    return 503, {}
            self.read[number] += 1
        orders = [{"id": 10 * number + n, "cents": 100 * n, "is_paid": n != 2} for n in (1, 2, 3)]
        return 200, {"orders": orders}

    def rate(self) -> tuple[int, Any]:
        self.rates += 1
        return 200, {"rate": RATE}

    def load(self, pages: list[list[dict[str, Any]]]) -> tuple[int, Any]:
        if not self.is_mended:
            return 409, {"error": "the warehouse is closed"}
        self.loaded = [row for page in pages for row in page]
        return 200, {"rows": len(self.loaded)}


def serving(world: World) -> ThreadingHTTPServer:
    """Both of them on a free port of this machine."""

    class Asked(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            match self.path.split("/")[1:]:
                case ["pages", number]:
                    self.reply(*world.page(int(number), self.headers["Idempotency-Key"]))
                case ["pages"]:
                    self.reply(200, {"pages": list(range(1, PAGES + 1))})
                case _:
                    self.reply(*world.rate())

        def do_POST(self) -> None:
            self.reply(*world.load(json.loads(self.rfile.read(int(self.headers["Content-Length"])))))

        def reply(self, status: int, value: Any) -> None:
            body = json.dumps(value).encode()
            self.send_response(status)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: object) -> None:
            """Quietly."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Asked)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    return server


def definition(url: str) -> dict[str, Any]:
    read = {
        "components": [
            {
                "id": "page",
                "type": "http_request",
                "config": {"url": f"{url}/pages/${{number}}"},
                "retry": {"max_attempts": 5, "initial_delay_seconds": 0.2},
                "timeout_seconds": 10,
            },
            {
                "id": "paid",
                "type": "transform",
                "config": {
                    "expression": "output.body.orders.filter(o, o.is_paid).map(o, {'id': o.id, 'cents': o.cents})"
                },
            },
        ],
        "connections": [{"source": "page", "target": "paid"}],
    }
    row = "{'id': o.id, 'worth': o.cents * steps.rate.output.body.rate}"
    rows = f"steps.read.output.results.map(page, page.paid.map(o, {row}))"
    return {
        "components": [
            {"id": "start", "type": "start"},
            {"id": "pages", "type": "http_request", "config": {"url": f"{url}/pages"}},
            {
                "id": "read",
                "type": "loop",
                "config": {
                    "items": "${pages.output.body.pages}",
                    "as": "number",
                    "max_concurrency": AT_ONCE,
                    "body": read,
                },
            },
            {"id": "rate", "type": "http_request", "config": {"url": f"{url}/rate"}},
            {"id": "rows", "type": "transform", "config": {"expression": rows}},
            {
                "id": "load",
                "type": "http_request",
                "config": {"url": f"{url}/load", "method": "POST", "body": "${rows.output}"},
            },
            {"id": "end", "type": "end", "config": {"output": {"rows": "${load.output.body.rows}"}}},
        ],
        "connections": [
            {"source": source, "target": target}
            for source, target in (
                *(("start", "pages"), ("pages", "read"), ("start", "rate")),
                *(("read", "rows"), ("rate", "rows"), ("rows", "load"), ("load", "end")),
            )
        ],
    }


def send(method: str, path: str, body: dict[str, Any] | None = None) -> Any:
    """The data of the hub's answer."""
    request = urllib.request.Request(  # noqa: S310
        f"{os.environ['RUNCAST_URL']}/api/v1{path}",
        method=method,
        data=None if body is None else json.dumps(body).encode(),
        headers={"X-API-Key": os.environ["RUNCAST_API_KEY"], "Content-Type": "application/json"},
    )
    with urllib.request.urlopen(request) as answer:  # noqa: S310
        return json.load(answer)["data"]


def ended(execution: str) -> dict[str, Any]:
    """The execution, once it has."""
    while (run := send("GET", f"/executions/{execution}"))["status"] in ("queued", "running"):
        time.sleep(0.05)
    found: dict[str, Any] = run
    return found


def main() -> bool:
    claims: list[bool] = []

    def claim(text: str, holds: bool) -> None:
        claims.append(holds)
        print(f"{'✔' if holds else '✘'} {text}")

    with ExitStack() as stack:
        world = World()
        server = stack.enter_context(serving(world))
        stack.callback(server.shutdown)
        graph = definition(f"http://127.0.0.1:{server.server_port}")
        workflow = send("POST", "/workflows", {"name": f"etl {os.getpid()}", "definition": graph})["id"]
        stack.callback(send, "DELETE", f"/workflows/{workflow}?force=true")
        execution = send("POST", f"/workflows/{workflow}/execute", {})["id"]
        run, read = ended(execution), dict.fromkeys(range(1, PAGES + 1), 1)
        claim(
            f"{PAGES} pages are read, never more than {AT_ONCE} at once", world.read == read and world.most <= AT_ONCE
        )
        claim(
            f"page {FLAKY} failed once, and came at the second attempt under the same key",
            len(world.keys) == 2 and len(set(world.keys)) == 1,
        )
        claim(f"the warehouse is closed: the run {run['status']}", run["status"] == "failed" and not world.loaded)
        world.is_mended = True
        send("POST", f"/executions/{execution}/retry", {"reason": "the warehouse is mended"})
        run = ended(execution)
        claim(f"retried from where it stopped, it {run['status']}", run["status"] == "completed")
        claim("what was read was not read again", world.read == read and world.rates == 1)
        wanted = [{"id": 10 * page + n, "worth": 100 * n * RATE} for page in read for n in (1, 3)]
        claim(f"{len(wanted)} rows are loaded, in the order of the pages", world.loaded == wanted)
        claim(f"the results say so: {json.dumps(run['results'])}", run["results"] == {"rows": len(wanted)})
    return all(claims)


if __name__ == "__main__":
    if not (os.environ.get("RUNCAST_URL") and os.environ.get("RUNCAST_API_KEY")):
        sys.exit("set RUNCAST_URL and RUNCAST_API_KEY first, as the README does")
    sys.exit(0 if main() else 1)
