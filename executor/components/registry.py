"""Every component type there is, by its name."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from importlib.metadata import EntryPoint, entry_points
from typing import Any

from executor.components.agent import Agent
from executor.components.base import Component
from executor.components.condition import Condition
from executor.components.end import End
from executor.components.external_task import ExternalTask
from executor.components.extract import Extract
from executor.components.http_request import HttpRequest
from executor.components.human_task import HumanTask
from executor.components.log import Log
from executor.components.loop import Loop
from executor.components.start import Start
from executor.components.sub_workflow import SubWorkflow
from executor.components.switch import Switch
from executor.components.transform import Transform
from executor.components.wait import Wait
from executor.shapes import compiled

BUILT_IN: tuple[type[Component], ...] = (
    Start,
    End,
    HttpRequest,
    Transform,
    Condition,
    Switch,
    Wait,
    Log,
    Extract,
    Agent,
    HumanTask,
    ExternalTask,
    SubWorkflow,
    Loop,
)
GROUP = "runcast.components"


class Registry(Mapping[str, Component]):
    """Component types by name, with the compiled schema of each. Built-in types cannot be replaced."""

    def __init__(self, classes: tuple[type[Component], ...] = BUILT_IN) -> None:
        self._components = {cls.type: cls() for cls in classes}
        self._validators: dict[str, Any] = {}

    @classmethod
    def installed(cls) -> Registry:
        """The built-in types and those of installed packages. A package's broken entry fails here, by name."""
        registry = cls()
        for entry in entry_points(group=GROUP):
            component = _loaded(entry)
            registry._components.setdefault(component.type, component)
        return registry

    def validator(self, type: str) -> Any:
        """The compiled config schema of a type."""
        if type not in self._validators:
            self._validators[type] = compiled(self[type].config_schema)
        return self._validators[type]

    def __getitem__(self, type: str) -> Component:
        return self._components[type]

    def __iter__(self) -> Iterator[str]:
        return iter(self._components)

    def __len__(self) -> int:
        return len(self._components)


def _loaded(entry: EntryPoint) -> Component:
    said = f"the entry point '{entry.name}' of {GROUP}, {entry.value},"
    try:
        component = entry.load()()
    except Exception as error:
        raise TypeError(f"{said} cannot be loaded: {error!r}") from error
    if not isinstance(component, Component):
        raise TypeError(f"{said} is not a Component")
    return component
