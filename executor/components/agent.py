"""`agent`: a question to a registered agent, by A2A or by plain HTTP; its output is the answer."""

from __future__ import annotations

import asyncio
import random
from typing import Any, ClassVar

from executor import a2a
from executor.asking import Wire
from executor.components.base import Component, ComponentError, Context, Output, config_of
from executor.domain.agent import Protocol
from executor.domain.errors import Code
from executor.domain.execution.decide import LogLine
from executor.domain.values import LogLevel, RetryPolicy
from executor.ports import Callee

_ONE_TRY = RetryPolicy()


class Agent(Component):
    type = "agent"
    name = "Agent"
    description = (
        "Asks a registered agent, by A2A or by plain HTTP with JSON. Its time limit and its retries are the agent's, "
        "unless the component has its own. Carries Idempotency-Key and X-Runcast-Attempt."
    )
    category = "integration"
    config_schema = config_of(
        {
            "agent_name": {"type": "string", "minLength": 1, "maxLength": 255},
            "agent_id": {"type": "string", "minLength": 1, "maxLength": 64},
            "input": {},
        },
        **{
            "if": {"not": {"required": ["agent_id"]}},
            "then": {"required": ["agent_name"]},
            "else": {"properties": {"agent_name": False}},
        },
    )
    output_schema: ClassVar[dict[str, Any]] = {}
    goes_outside = True

    async def run(self, context: Context) -> Output:
        """Where the definition says nothing of retries, the agent is asked again within this attempt: so its own
        policy holds, and a longer one, over hours and crashes, is the component's `retry`."""
        callee = await context.agents(context.config.get("agent_id"), context.config.get("agent_name"))
        policy = callee.retry if context.retry is None else _ONE_TRY
        logs: list[LogLine] = []
        while True:
            try:
                return Output(await _asked(context, callee), tuple(logs))
            except ComponentError as error:
                failures = len(logs) + 1
                if not error.temporary or failures >= policy.max_attempts:
                    raise _after(error, failures) from None
                delay = policy.delay(failures, random.uniform(-1, 1))  # noqa: S311
                logs.append(LogLine(LogLevel.WARNING, f"{error.message}; asked again in {delay:g} s"))
                await asyncio.sleep(delay)


async def _asked(context: Context, callee: Callee) -> Any:
    limit = context.timeout_seconds or callee.timeout_seconds
    ours = {"Idempotency-Key": context.idempotency_key, "X-Runcast-Attempt": str(context.attempt)}
    wire = Wire(context.egress, callee, ours, limit)
    try:
        async with asyncio.timeout(limit):
            return await _answer(wire, context.config.get("input", {}), context.idempotency_key)
    except TimeoutError:
        raise wire.fails(f"gave no answer within {limit:g} s", code=Code.TIMEOUT_ERROR, temporary=True) from None


async def _answer(wire: Wire, value: Any, key: str) -> Any:
    if wire.callee.protocol != Protocol.HTTP:
        interfaces = await a2a.discovered(wire)
        if interfaces is not None:
            return await a2a.asked(wire, interfaces, value, key)
        if wire.callee.protocol == Protocol.A2A:
            raise wire.fails(f"has no agent card at {a2a.CARD}")
    return await wire.post(wire.callee.url, value)


def _after(error: ComponentError, tries: int) -> ComponentError:
    """The last failure, which says how often it was tried, where that was more than once."""
    if tries == 1:
        return error
    return ComponentError(
        f"{error.message} (asked {tries} times)", code=error.code, temporary=error.temporary, details=error.details
    )
