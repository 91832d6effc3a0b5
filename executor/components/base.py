"""What a component type is: a JSON Schema for its config, and what it does when it runs.

A type is one file with one subclass of `Component` and one line in `registry.py`; a package outside offers its own
through the entry point group `runcast.components` (the value is the class).
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterable, Mapping
from typing import Any, ClassVar

from msgspec import Struct

from executor.domain.execution.inputs import LogLine
from executor.domain.values import Instant, RetryPolicy
from executor.egress import Egress
from executor.expressions import Scope
from executor.opening import Opens
from executor.ports import Callee, FindAgent, FindWorkflow

EXPRESSION: dict[str, Any] = {"type": "string", "minLength": 1, "maxLength": 4096, "x-expression": "cel"}
"""Schema of a config field that holds CEL; validation parses it."""


class ComponentError(Exception):
    """A component failed. `temporary` failures are tried again where the component's retry policy allows."""

    def __init__(
        self, message: str, *, code: str = "COMPONENT_ERROR", temporary: bool = False, details: Any = None
    ) -> None:
        super().__init__(message)
        self.message, self.code, self.temporary, self.details = message, code, temporary, details


class Output(Struct, frozen=True):
    """The component is done: a JSON value, and the lines that it writes to the execution's log."""

    value: Any
    logs: tuple[LogLine, ...] = ()


class Suspend(Struct, frozen=True):
    """The component waits and holds nothing meanwhile: until a time, and ends with the output null; or for the signal
    of this key, and ends with what `signalled` makes of it. With both, it fails where the time comes first. What it
    `opens` has the signal's key as the name of its stream, and begins together with the waiting."""

    until: Instant | None = None
    signal: str | None = None
    opens: Opens | None = None


class Iterate(Struct, frozen=True):
    """The component is a loop: its body runs so many times (None: while its condition holds), at most so many at
    once."""

    times: int | None
    max_concurrency: int = 1


Answer = Output | Suspend | Iterate


async def no_agent(id: str | None, name: str | None) -> Callee:
    """Where nobody knows any agents."""
    raise ComponentError(f"there is no agent '{id or name}'")


async def no_workflow(id: str | None, name: str | None, parameters: dict[str, Any]) -> Opens:
    """Where nobody knows any workflows."""
    raise ComponentError(f"there is no workflow '{id or name}'")


class Context(Struct, frozen=True, kw_only=True):
    """One attempt at one component of one run.

    `config` has its references resolved and has passed the schema. `variables` are what CEL sees. `first_started_at`
    is the time of the first attempt. `idempotency_key` is the same at every automatic attempt and after a crash.
    `retry` and `timeout_seconds` are what the definition says of this component, null where it says nothing.
    """

    execution_id: str
    component_id: str
    attempt: int
    idempotency_key: str
    config: dict[str, Any]
    input: dict[str, Any]
    variables: Mapping[str, Any]
    first_started_at: Instant
    egress: Egress
    agents: FindAgent = no_agent
    workflows: FindWorkflow = no_workflow
    retry: RetryPolicy | None = None
    timeout_seconds: float | None = None

    @property
    def scope(self) -> Scope:
        """What expressions see."""
        return Scope(self.variables, tuple(self.variables))


class Component(ABC):
    """One that `is_instant` answers from its config alone, at once and without any effect: it runs before its start
    is on the disk, and both are recorded together. `goes_outside` ones are given secrets in clear, and those that
    `passes_secrets` as they are sealed; others may not have any. `default_timeout` (seconds) bounds an attempt where
    the definition does not."""

    type: ClassVar[str]
    name: ClassVar[str]
    description: ClassVar[str]
    category: ClassVar[str]
    config_schema: ClassVar[dict[str, Any]]
    output_schema: ClassVar[dict[str, Any]] = {}
    goes_outside: ClassVar[bool] = False
    passes_secrets: ClassVar[bool] = False
    default_timeout: ClassVar[float | None] = None
    is_instant: ClassVar[bool] = False

    def faults(self, config: dict[str, Any]) -> Iterable[tuple[str, str]]:
        """What is wrong with a config beyond its schema: a path in it, and why. It may break the schema too."""
        return ()

    @abstractmethod
    async def run(self, context: Context) -> Answer:
        """Raises `ComponentError` where it fails. May be cancelled at any await."""

    def signalled(self, data: Any) -> Output:
        """What comes of the signal that the component waited for. Raises `ComponentError` where that is a failure."""
        return Output(data)


def config_of(properties: dict[str, Any], *required: str, **more: Any) -> dict[str, Any]:
    """The JSON Schema of a config: an object with these properties and no others."""
    return {
        "type": "object",
        "properties": properties,
        "required": list(required),
        "additionalProperties": False,
    } | more
