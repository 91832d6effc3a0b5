"""Two agents, one after the other, asked by a workflow: `python examples/agent_chain.py [TEXT]`.

It starts both agents here (plain HTTP, JSON in and JSON out), registers them, runs the workflow, prints what each
answered, and takes everything away again. RUNCAST_URL and RUNCAST_API_KEY say where the hub is and who asks.
"""

from __future__ import annotations

import json
import os
import secrets
import sys
import threading
import time
import urllib.request
from collections import Counter
from collections.abc import Callable
from contextlib import ExitStack
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

TOKEN = secrets.token_urlsafe()
Answer = Callable[[dict[str, Any]], dict[str, Any]]


def extract(asked: dict[str, Any]) -> dict[str, Any]:
    return {"words": asked["text"].lower().split()}


def count(asked: dict[str, Any]) -> dict[str, Any]:
    (most, times) = Counter(asked["words"]).most_common(1)[0]
    return {"total": len(asked["words"]), "most": most, "times": times}


def agent(answer: Answer) -> ThreadingHTTPServer:
    """An agent on a free port of this machine, serving."""

    class Asked(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["Content-Length"]))
            is_known = self.headers["Authorization"] == f"Bearer {TOKEN}"
            self.reply(200 if is_known else 401, answer(json.loads(body)) if is_known else {})

        def do_GET(self) -> None:
            self.reply(200 if self.path == "/health" else 404, {})

        def reply(self, status: int, value: dict[str, Any]) -> None:
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


def registered(name: str, answer: Answer, stack: ExitStack) -> str:
    """A running agent that the hub knows, until the stack is closed; its name."""
    server = stack.enter_context(agent(answer))
    stack.callback(server.shutdown)
    body = {
        "name": f"{name}-{os.getpid()}",
        "url": f"http://127.0.0.1:{server.server_port}",
        "protocol": "http",
        "auth_type": "bearer",
        "auth_config": {"token": TOKEN},
    }
    made = send("POST", "/agents", body)
    stack.callback(send, "DELETE", f"/agents/{made['id']}")
    health = send("GET", f"/agents/{made['id']}/health")
    print(f"{name}: {'healthy' if health['healthy'] else health['error']}")
    return str(made["name"])


def main(text: str) -> None:
    with ExitStack() as stack:
        steps = {
            "extract": {
                "id": "extract",
                "agent_name": registered("extractor", extract, stack),
                "next_step": "count",
                "input_mapping": {"text": "${workflow.input.text}"},
            },
            "count": {
                "id": "count",
                "agent_name": registered("counter", count, stack),
                "input_mapping": {"words": "${extract.output.words}"},
            },
        }
        definition = {"start_step": "extract", "steps": steps}
        workflow = send("POST", "/workflows", {"name": f"agent chain {os.getpid()}", "definition": definition})
        stack.callback(send, "DELETE", f"/workflows/{workflow['id']}?force=true")
        execution = send("POST", f"/workflows/{workflow['id']}/execute", {"parameters": {"text": text}})["id"]
        while (run := send("GET", f"/executions/{execution}"))["completed_at"] is None:
            time.sleep(0.05)
        for component in send("GET", f"/executions/{execution}/components"):
            print(f"{component['component_id']}: {json.dumps(component['output_data'])}")
        print(run["status"])
        sys.exit(0 if run["status"] == "completed" else run["error_message"])


if __name__ == "__main__":
    if not (os.environ.get("RUNCAST_URL") and os.environ.get("RUNCAST_API_KEY")):
        sys.exit("set RUNCAST_URL and RUNCAST_API_KEY first, as the README does")
    main(" ".join(sys.argv[1:]) or "the quick brown fox jumps over the lazy dog")
