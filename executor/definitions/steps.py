"""The form `start_step` + `steps`: agents called one after another, each with an `input_mapping`."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Annotated, Any

import msgspec
from msgspec import Meta, Struct

from executor.definitions.forms import OF_THE_WHOLE, Whole, Written, free_id, whole_of
from executor.definitions.report import Finding, error
from executor.domain.definition import ComponentId, Parameter, Seconds
from executor.domain.values import RetryPolicy
from executor.shapes import Shape


class Step(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    id: ComponentId
    agent_name: Annotated[str, Meta(min_length=1, max_length=255)]
    input_mapping: dict[str, Any]
    next_step: str | None = None
    name: Annotated[str, Meta(max_length=255)] | None = None
    retry: RetryPolicy | None = None
    timeout_seconds: Seconds | None = None


class Steps(Whole, frozen=True, kw_only=True, forbid_unknown_fields=True):
    start_step: str
    steps: Annotated[dict[ComponentId, Step], Meta(min_length=1, max_length=20_000)]
    parameters: Annotated[tuple[Parameter, ...], Meta(max_length=1000)] = ()


_SHAPE = Shape(Steps)


def compile_steps(raw: Any, prefix: str) -> Written:
    """Raises `Invalid` for a wrong shape."""
    written = _SHAPE.parse(raw, prefix)
    start = free_id("start", written.steps)
    components: list[dict[str, Any]] = [{"id": start, "type": "start"}]
    connections: list[dict[str, Any]] = []
    places = {"": "", "components": "steps", "components[0]": "start_step", "connections": "steps"}
    places |= {name: name for name in ("parameters", *OF_THE_WHOLE)}
    if written.start_step in written.steps:
        connections.append({"source": start, "target": written.start_step})
        places["connections[0]"] = "start_step"
    for key, step in written.steps.items():
        at, place = f"components[{len(components)}]", f"steps.{key}"
        places |= {
            at: place,
            f"{at}.type": f"{place}.agent_name",
            f"{at}.config": place,
            f"{at}.config.input": f"{place}.input_mapping",
        }
        components.append(_component(key, step))
        if step.next_step in written.steps:
            places[f"connections[{len(connections)}]"] = f"{place}.next_step"
            connections.append({"source": key, "target": step.next_step})
    graph = {
        "components": components,
        "connections": connections,
        "parameters": msgspec.to_builtins(written.parameters),
    } | whole_of(written)
    findings = tuple(_findings(written, prefix))
    return Written(form="steps", graph=graph, places=places, findings=findings, said=frozenset({"UNREACHABLE"}))


def _component(key: str, step: Step) -> dict[str, Any]:
    return {
        "id": key,
        "type": "agent",
        "name": step.name,
        "config": {"agent_name": step.agent_name, "input": step.input_mapping},
        "retry": None if step.retry is None else msgspec.to_builtins(step.retry),
        "timeout_seconds": step.timeout_seconds,
    }


def _findings(written: Steps, prefix: str) -> Iterator[Finding]:
    if written.start_step not in written.steps:
        message = f"there is no step '{written.start_step}' to start with"
        yield error("UNKNOWN_STEP", message, f"{prefix}.start_step")
    for key, step in written.steps.items():
        field = f"{prefix}.steps.{key}"
        if step.id != key:
            yield error(
                "STEP_ID", f"the step under '{key}' has the id '{step.id}'; both must be one", f"{field}.id", key
            )
        if step.next_step is not None and step.next_step not in written.steps:
            yield error("UNKNOWN_STEP", f"there is no step '{step.next_step}'", f"{field}.next_step", key)
    reached: set[str] = set()
    at: str | None = written.start_step
    while at in written.steps and at not in reached:
        reached.add(at)
        at = written.steps[at].next_step
    for key in written.steps:
        if reached and key not in reached:
            message = f"'{key}' cannot be reached from the start step '{written.start_step}'"
            yield error("UNREACHABLE", message, f"{prefix}.steps.{key}", key)
