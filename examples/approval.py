"""An approval that is not left lying: `python examples/approval.py [AMOUNT]`.

A workflow asks ada; she does not answer in time, so the task becomes her boss's, who answers. RUNCAST_URL and
RUNCAST_API_KEY say where the hub is and who asks. Everything is taken away again.
"""

from __future__ import annotations

import json
import os
import sys
import time
import urllib.error
import urllib.request
from contextlib import ExitStack
from typing import Any

DEFINITION = {
    "components": [
        {"id": "start", "type": "start"},
        {
            "id": "approve",
            "type": "human_task",
            "config": {
                "title": "Approve ${workflow.input.amount} for a chair",
                "assignee": "ada",
                "form": {
                    "type": "object",
                    "properties": {"approved": {"type": "boolean"}, "comment": {"type": "string"}},
                    "required": ["approved"],
                },
                "due_in_seconds": 0.5,
                "escalation": {"reassign_to": "boss", "notify": ["ops"]},
            },
        },
        {"id": "order", "type": "end", "config": {"output": {"answer": "ordered"}}},
        {"id": "decline", "type": "end", "config": {"output": {"answer": "declined"}}},
    ],
    "connections": [
        {"source": "start", "target": "approve"},
        {"source": "approve", "target": "order", "type": "conditional", "condition": "output.approved"},
        {"source": "approve", "target": "decline", "type": "conditional", "condition": "!output.approved"},
    ],
    "parameters": [{"name": "amount", "type": "integer", "required": True}],
}


def send(method: str, path: str, body: dict[str, Any] | None = None) -> Any:
    """The data of the hub's answer, or the errors of one that it refuses."""
    request = urllib.request.Request(  # noqa: S310
        f"{os.environ['RUNCAST_URL']}/api/v1{path}",
        method=method,
        data=None if body is None else json.dumps(body).encode(),
        headers={"X-API-Key": os.environ["RUNCAST_API_KEY"], "Content-Type": "application/json"},
    )
    try:
        with urllib.request.urlopen(request) as answer:  # noqa: S310
            return json.load(answer)["data"]
    except urllib.error.HTTPError as refused:
        with refused:
            return json.load(refused)["errors"]


def first_task(query: str) -> dict[str, Any]:
    """The first task of a list, once there is one."""
    while not (found := send("GET", f"/tasks?{query}")):
        time.sleep(0.05)
    task: dict[str, Any] = found[0]
    return task


def main(amount: int) -> None:
    with ExitStack() as stack:
        workflow = send("POST", "/workflows", {"name": f"approval {os.getpid()}", "definition": DEFINITION})
        stack.callback(send, "DELETE", f"/workflows/{workflow['id']}?force=true")
        run = send("POST", f"/workflows/{workflow['id']}/execute", {"parameters": {"amount": amount}})["id"]
        task = first_task(f"execution_id={run}")
        print(f"{task['title']}: {task['status']}")
        task = first_task(f"execution_id={run}&assignee=boss")
        path = f"/tasks/{task['id']}"
        print(f"escalated to level {task['escalation_level']}: it is {task['assignee']}'s now")
        refused = send("POST", f"{path}/complete", {"assignee": "ada", "output": {"approved": True}})
        print(f"ada is too late: {refused[0]['message']}")
        wrong = send("POST", f"{path}/complete", {"assignee": "boss", "output": {"approved": "yes"}})
        print(f"what does not fit the form is refused at {wrong[0]['field']}")
        answer = {"approved": amount <= 500, "comment": "up to 500"}
        send("POST", f"{path}/complete", {"assignee": "boss", "output": answer, "notes": "as always"})
        while (ended := send("GET", f"/executions/{run}"))["completed_at"] is None:
            time.sleep(0.05)
        for line in send("GET", f"{path}/logs"):
            print(f"  {line['message']}")
        print(ended["results"]["answer"] if ended["status"] == "completed" else ended["error_message"])
        sys.exit(0 if ended["status"] == "completed" else 1)


if __name__ == "__main__":
    if not (os.environ.get("RUNCAST_URL") and os.environ.get("RUNCAST_API_KEY")):
        sys.exit("set RUNCAST_URL and RUNCAST_API_KEY first, as the README does")
    main(int(sys.argv[1]) if sys.argv[1:] else 300)
