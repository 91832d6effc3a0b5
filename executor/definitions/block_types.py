"""What each type of block becomes: a component with a config, and where each value of that was written.

A browser does not run here. A navigation is a request for the page; an extraction takes values out of the page before
it by CSS selectors. Either is a call of an agent where it names one: that may drive a browser.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final

from msgspec import Struct

from executor.definitions.report import Finding, error, warning

Said = Callable[[str], Finding]
"""A finding, given the path of its block."""


class Neighbours(Struct, frozen=True):
    """The blocks of one graph by id, with type and parameters; `pages` are the nearest navigations before each."""

    blocks: Mapping[str, tuple[str, Mapping[str, Any]]]
    pages: Mapping[str, str]


def neighbours(
    blocks: Mapping[str, tuple[str, Mapping[str, Any]]], connections: Sequence[Mapping[str, Any]]
) -> Neighbours:
    targets: dict[str, list[str]] = {}
    for connection in connections:
        targets.setdefault(connection["source"], []).append(connection["target"])
    pages: dict[str, str] = {}
    waiting = deque((id, id) for id, (type, _) in blocks.items() if type == "navigation")
    while waiting:
        at, page = waiting.popleft()
        for target in targets.get(at, ()):
            if target in blocks and target not in pages:
                pages[target] = page
                if blocks[target][0] != "navigation":
                    waiting.append((target, page))
    return Neighbours(blocks, pages)


class Kind(Struct, frozen=True):
    """`names` are the parameters that a block may have, and the field of the config that each becomes, if any."""

    type: str
    names: Mapping[str, str]
    required: tuple[str, ...] = ()


class Made(Struct, frozen=True):
    """`places` are paths in the config and the parameters that they come from."""

    type: str
    config: dict[str, Any]
    places: dict[str, str]
    findings: tuple[Said, ...] = ()
    has_body: bool = False


def _same(*names: str) -> dict[str, str]:
    return {name: name for name in names}


_REQUEST: Final = _same("url", "method", "headers", "query", "body", "timeout", "expect_status")
_LOOP: Final = {"loop_over": "items", "loop_blocks": "", "loop_connections": ""}
KINDS: Final[Mapping[str, Kind]] = {
    "navigation": Kind("http_request", _REQUEST | {"navigation_goal": ""}, ("url",)),
    "extraction": Kind(
        "extract", _same("html", "selectors") | {"data_extraction_goal": ""}, ("data_extraction_goal",)
    ),
    "condition": Kind("condition", {"condition_expression": "expression"}, ("condition_expression",)),
    "code": Kind("transform", {"code": "expression"}, ("code",)),
    "wait": Kind("wait", _same("seconds", "until", "signal", "timeout_seconds")),
    "loop": Kind("loop", _LOOP | _same("as", "max_concurrency"), ("loop_over", "loop_blocks")),
}
_GOALS: Final = {"navigation": "navigation_goal", "extraction": "data_extraction_goal"}
_WHOLE_PAGE: Final = {"title": "title", "text": "body"}


def made(id: str, type: str, parameters: Mapping[str, Any], near: Neighbours) -> Made:
    """The component of a block; of an unknown type something harmless in its place."""
    kind = KINDS.get(type)
    if kind is None:
        known = ", ".join(KINDS)
        wrong = f"there is no block type '{type}'; there are {known}"
        return Made("log", {"message": ""}, {}, (lambda at: error("UNKNOWN_TYPE", wrong, f"{at}.type", id),))
    if type in _GOALS and "agent_name" in parameters:
        return _agent(id, kind, parameters, near)
    findings = [_missing(id, name) for name in kind.required if name not in parameters]
    findings += [_unknown(id, name, type, kind) for name in parameters if name not in kind.names]
    config = {field: parameters[name] for name, field in kind.names.items() if field and name in parameters}
    places = {field: name for name, field in kind.names.items() if field}
    if type in _GOALS and _GOALS[type] in parameters:
        findings += _idle_goal(id, type, parameters)
    if type == "extraction":
        config, more = _with_page(id, config, near)
        findings += more
    return Made(kind.type, config, places, tuple(findings), has_body=type == "loop")


def _agent(id: str, kind: Kind, parameters: Mapping[str, Any], near: Neighbours) -> Made:
    """The agent gets every other parameter, and what the navigation before it found."""
    given = {name: value for name, value in parameters.items() if name != "agent_name"}
    places = {"agent_name": "agent_name"} | {f"input.{name}": name for name in given}
    page = near.pages.get(id)
    if page is not None:
        given.setdefault("page", f"${{{page}.output}}")
    findings = [_missing(id, name) for name in kind.required if name not in parameters]
    config = {"agent_name": parameters["agent_name"], "input": given}
    return Made("agent", config, places, tuple(findings))


def _with_page(id: str, config: dict[str, Any], near: Neighbours) -> tuple[dict[str, Any], list[Said]]:
    config = {"selectors": _WHOLE_PAGE} | config
    if "html" in config:
        return config, []
    page = near.pages.get(id)
    if page is None:
        wrong = f"no navigation leads to '{id}'; put one before it, or give the page as html"
        return config | {"html": ""}, [lambda at: error("NO_PAGE", wrong, f"{at}.parameters.html", id)]
    is_agent = "agent_name" in near.blocks[page][1]
    return config | {"html": f"${{{page}.output{'' if is_agent else '.body'}}}"}, []


def _idle_goal(id: str, type: str, parameters: Mapping[str, Any]) -> list[Said]:
    """A goal is for an agent; without one, selectors say it too, and nothing else does."""
    if type == "extraction" and "selectors" in parameters:
        return []
    goal = _GOALS[type]
    done = "the page is requested" if type == "navigation" else "the page's title and text are taken"
    doubt = f"nothing reads the {goal}: {done}; name an agent_name" + (", or selectors" * (type == "extraction"))
    return [lambda at: warning("IDLE_GOAL", doubt, f"{at}.parameters.{goal}", id)]


def _missing(id: str, name: str) -> Said:
    return lambda at: error("BLOCK_PARAMETER", f"'{name}' is required", f"{at}.parameters.{name}", id)


def _unknown(id: str, name: str, type: str, kind: Kind) -> Said:
    known = ", ".join(kind.names)
    wrong = f"unknown parameter '{name}' of a block of type {type}; there are {known}"
    return lambda at: error("BLOCK_PARAMETER", wrong, f"{at}.parameters.{name}", id)
