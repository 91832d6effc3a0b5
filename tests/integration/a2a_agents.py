"""A real A2A agent on loopback, built with the official SDK: what it does is what it is told."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager
from typing import Any, NamedTuple

import uvicorn
from a2a.helpers import get_data_parts, get_message_text, new_data_part, new_task_from_user_message, new_text_part
from a2a.server.agent_execution import AgentExecutor, RequestContext
from a2a.server.context import ServerCallContext
from a2a.server.events import EventQueue
from a2a.server.request_handlers import DefaultRequestHandler
from a2a.server.routes import create_agent_card_routes, create_jsonrpc_routes
from a2a.server.tasks import InMemoryTaskStore, TaskUpdater
from a2a.types import AgentCapabilities, AgentCard, AgentInterface, AgentSkill, Message, Role, Task
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import BaseRoute, Route

from hub.server import bound


class Asked(NamedTuple):
    """A message as the agent got it."""

    message_id: str
    text: str
    data: list[Any]
    headers: Mapping[str, str]


class Told(AgentExecutor):
    """Does what the text of a message says, or the field `do` of its data."""

    def __init__(self) -> None:
        self.asked: list[Asked] = []
        self.tasks: list[str] = []
        self.released = asyncio.Event()
        self.failures = 0

    async def execute(self, context: RequestContext, event_queue: EventQueue) -> None:
        message = context.message
        assert message is not None
        data = get_data_parts(message.parts)
        text = get_message_text(message)
        call = context.call_context
        self.asked.append(Asked(message.message_id, text, data, call.state["headers"] if call else {}))
        order = text or data[0]["do"]
        if order == "say":
            parts = [new_text_part("said at once")]
            await event_queue.enqueue_event(Message(role=Role.ROLE_AGENT, message_id="m", parts=parts))
            return
        if self.failures:
            self.failures -= 1
            raise RuntimeError("broken inside")
        task = new_task_from_user_message(message)
        task.id, task.context_id = str(context.task_id), str(context.context_id)
        self.tasks.append(task.id)
        await event_queue.enqueue_event(task)
        updater = TaskUpdater(event_queue, task.id, task.context_id)
        await updater.start_work()
        await self._work(order, data, updater)

    async def _work(self, order: str, data: list[Any], updater: TaskUpdater) -> None:
        if order == "wait":
            await self.released.wait()
            await updater.add_artifact([new_text_part("worth the wait")])
        elif order == "double":
            await updater.add_artifact([new_data_part({"result": data[0]["number"] * 2})])
        elif order == "report":
            parts = [new_text_part("first"), new_text_part("second"), new_data_part({"rows": 3})]
            await updater.add_artifact(parts)
        elif order == "echo headers":
            await updater.add_artifact([new_data_part(dict(self.asked[-1].headers))])
        elif order == "fail":
            await updater.failed(updater.new_agent_message([new_text_part("out of ideas")]))
            return
        elif order == "ask":
            await updater.requires_input(updater.new_agent_message([new_text_part("which one?")]))
            return
        await updater.complete(updater.new_agent_message([new_text_part("done")]))

    async def cancel(self, context: RequestContext, event_queue: EventQueue) -> None:
        raise NotImplementedError


class Forgetful(InMemoryTaskStore):
    """As an agent that was started anew: some tasks it does not know any more."""

    def __init__(self) -> None:
        super().__init__()
        self.forgotten: set[str] = set()

    async def get(self, task_id: str, context: ServerCallContext) -> Task | None:
        return None if task_id in self.forgotten else await super().get(task_id, context)


class A2AAgent:
    """It runs. `told` is what it heard; `card` is served as it is, so that a test may change it; `lost_polls` are
    answered with 503."""

    def __init__(self, url: str, told: Told, card: AgentCard, tasks: Forgetful) -> None:
        self.url, self.told, self.card, self._tasks = url, told, card, tasks
        self.requests: list[tuple[str, str]] = []
        self.lost_polls = 0

    def forget(self) -> None:
        """Every task so far."""
        self._tasks.forgotten.update(self.told.tasks)

    @property
    def rpc_requests(self) -> int:
        return sum(method == "POST" for method, _ in self.requests)


@asynccontextmanager
async def serving(*, speaks: str = "1.0", claims: str | None = None) -> AsyncIterator[A2AAgent]:
    """`speaks`: 1.0, or 0.3 alone. `claims`: the version on its card, where that is another."""
    listener = bound("127.0.0.1", 0)
    url = f"http://127.0.0.1:{listener.getsockname()[1]}"
    card = AgentCard(
        name="told",
        description="Does what it is told.",
        version="1",
        capabilities=AgentCapabilities(streaming=False),
        default_input_modes=["text/plain", "application/json"],
        default_output_modes=["text/plain", "application/json"],
        supported_interfaces=[
            AgentInterface(url=f"{url}/rpc", protocol_binding="JSONRPC", protocol_version=claims or speaks)
        ],
        skills=[AgentSkill(id="do", name="Do", description="Does it.", tags=["do"])],
    )
    tasks = Forgetful()
    agent = A2AAgent(url, Told(), card, tasks)
    handler = DefaultRequestHandler(agent_executor=agent.told, task_store=tasks, agent_card=card)
    routes: list[BaseRoute] = [*create_agent_card_routes(card), Route("/health", _health)]
    routes += create_jsonrpc_routes(handler, "/rpc", enable_v0_3_compat=speaks == "0.3")
    server = uvicorn.Server(
        uvicorn.Config(_only(Starlette(routes=routes), agent, speaks), log_config=None, lifespan="off", ws="none")
    )
    serving = asyncio.create_task(server.serve([listener]))
    try:
        while not server.started:
            await asyncio.sleep(0.005)
        yield agent
    finally:
        agent.told.released.set()
        server.should_exit = True
        await serving
        await handler.aclose()
        listener.close()


def _only(app: Starlette, agent: A2AAgent, speaks: str) -> Any:
    """The app, with what was asked of it; the SDK speaks 1.0 beside 0.3 always, so that is taken from it here."""

    async def serve(scope: Any, receive: Any, send: Any) -> None:
        agent.requests.append((scope["method"], scope["path"]))
        if scope["method"] != "POST":
            await app(scope, receive, send)
            return
        body = await Request(scope, receive).body()
        method = json.loads(body)["method"]
        if speaks == "0.3" and method in ("SendMessage", "GetTask"):
            error = {"code": -32601, "message": "Method not found"}
            await JSONResponse({"jsonrpc": "2.0", "id": 1, "error": error})(scope, receive, send)
        elif agent.lost_polls and method in ("GetTask", "tasks/get"):
            agent.lost_polls -= 1
            await Response(status_code=503)(scope, receive, send)
        else:
            await app(scope, _again(body), send)

    return serve


def _again(body: bytes) -> Callable[[], Awaitable[dict[str, Any]]]:
    async def receive() -> dict[str, Any]:
        return {"type": "http.request", "body": body, "more_body": False}

    return receive


async def _health(request: Request) -> Response:
    return JSONResponse({"status": "ok"})
