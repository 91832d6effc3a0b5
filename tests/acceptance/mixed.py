"""Workflows of every shape, and what must come of each: how its run ends, with which results, and what it has done to
the world, by idempotency key."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any, NamedTuple

from tests.acceptance.world import QUICK, linked

Spec = dict[str, Any]
N = "${workflow.input.n}"


class Outcome(NamedTuple):
    """How a run ends for good. `effects` are idempotency keys, without the execution:
    `component/iteration/generation`."""

    status: str
    results: dict[str, Any] | None
    effects: frozenset[str]


class Shape(NamedTuple):
    """`most` is how many of it may run at once."""

    components: list[Spec]
    connections: list[Spec]
    outcome: Callable[[int], Outcome]
    most: int | None = None

    def definition(self, url: str) -> Spec:
        parameters = [
            {"name": "n", "type": "integer", "required": True},
            {"name": "url", "type": "string", "default_value": url},
            {"name": "door", "type": "string", "default_value": "broken"},
        ]
        return {
            "parameters": parameters,
            "components": [step("start", "start"), *self.components],
            "connections": self.connections,
        } | ({"concurrency": {"key": "all", "limit": self.most}} if self.most else {})


def step(id: str, type: str, **config: Any) -> Spec:
    return {"id": id, "type": type, "config": config}


def call(id: str, n: Any = N, path: str = "effect", most: int = 50) -> Spec:
    """One effect on the world: told again after a crash, it is the same one."""
    config = {"url": "{{url}}/" + path, "method": "POST", "body": {"n": n}}
    return step(id, "http_request", **config) | {"retry": QUICK | {"max_attempts": most}}


def end(**output: Any) -> Spec:
    return step("end", "end", output=output)


def loop(id: str, *body: Spec, links: Iterable[Spec] = (), **config: Any) -> Spec:
    inside = {"components": list(body), "connections": list(links)} | config.pop("body", {})
    return step(id, "loop", body=inside, **config)


def says(id: str, expression: str) -> Spec:
    return step(id, "transform", expression=expression)


def on(source: str, target: str, condition: str | None = None) -> Spec:
    """A conditional connection, or an error one."""
    if condition is None:
        return {"source": source, "target": target, "type": "error"}
    return {"source": source, "target": target, "type": "conditional", "condition": condition}


def ended(*ids: str, status: str = "completed", **results: Any) -> Outcome:
    """`ids` have had their effects, outside of loops."""
    return Outcome(status, results if status == "completed" else None, frozenset(f"{id}/-/0" for id in ids))


def inside(id: str, paths: Iterable[Any], then: Outcome) -> Outcome:
    """One component has had its effects in these iterations besides."""
    return then._replace(effects=then.effects | {f"{id}/{path}/0" for path in paths})


def _fork(n: int) -> Outcome:
    return ended("a", "b", "c", n=n, a=n, c=n)


def _choice(n: int) -> Outcome:
    return ended("odd" if n % 2 else "even", odd=n if n % 2 else None, even=None if n % 2 else n)


def _switch(n: int) -> Outcome:
    chosen = ("none", "one", "more")[n % 3]
    return ended(chosen, at=chosen)


def _rows(n: int) -> Outcome:
    cells = [[{"sum": row * cell} for cell in (10, 20)] for row in (1, 2, 3)]
    results = [{"cells": {"results": found}} for found in cells]
    return inside("call", [f"{row}.{cell}" for row in range(3) for cell in range(2)], ended(rows=results))


_TO_END = linked("start>call", "call>end")
_TWICE = [call("call", "${item}"), says("twice", "item * 2")]
_CELLS = loop(
    "cells",
    *(call("call", "${cell}"), says("sum", "row * cell")),
    links=linked("call>sum"),
    items=[10, 20],
    max_concurrency=2,
    **{"as": "cell"},
)
_WAITING = step("wait", "wait", signal="never")

CHILDREN: dict[str, Shape] = {
    "child": Shape([call("call"), end(n=N)], _TO_END, lambda n: ended("call", n=n)),
    "endless child": Shape(
        [call("call"), _WAITING], linked("start>call", "call>wait"), lambda n: ended("call", status="cancelled")
    ),
}
"""What other runs run."""

SHAPES: dict[str, Shape] = {
    "fork and join": Shape(
        [call("a"), call("b"), call("c"), end(n=N, a="${a.output.body.n}", c="${c.output.body.n}")],
        linked("start>a", "start>b", "start>c", "a>end", "b>end", "c>end"),
        _fork,
    ),
    "choice": Shape(
        [
            step("is_odd", "condition", expression="input.n % 2 == 1"),
            *(call("odd"), call("even"), end(odd="${odd.output.body.n}", even="${even.output.body.n}")),
        ],
        [
            *linked("start>is_odd", "odd>end", "even>end"),
            on("is_odd", "odd", "output.result"),
            on("is_odd", "even", "!output.result"),
        ],
        _choice,
    ),
    "switch": Shape(
        [
            step(
                "which",
                "switch",
                cases=[
                    {"name": "none", "expression": "input.n % 3 == 0"},
                    {"name": "one", "expression": "input.n % 3 == 1"},
                ],
                default="more",
            ),
            *(call("none"), call("one"), call("more"), end(at="${which.output.case}")),
        ],
        [
            *linked("start>which", "none>end", "one>end", "more>end"),
            *(on("which", name, f"output.case == '{name}'") for name in ("none", "one", "more")),
        ],
        _switch,
    ),
    "rescue": Shape(
        [call("call", path="broken"), call("rescue"), end(n="${rescue.output.body.n}")],
        [*linked("start>call", "call>end", "rescue>end"), on("call", "rescue")],
        lambda n: ended("rescue", n=n),
    ),
    "retry": Shape([call("call", path="effect/2"), end(n=N)], _TO_END, lambda n: ended("call", n=n)),
    "retries spent": Shape(
        [call("call", path="effect/1000", most=3), call("rescue"), end(n=N)],
        [*linked("start>call", "call>end", "rescue>end"), on("call", "rescue")],
        lambda n: ended("rescue", n=n),
    ),
    "loop": Shape(
        [loop("each", *_TWICE, links=linked("call>twice"), items=[1, 2, 3, 4, 5]), end(got="${each.output.results}")],
        linked("start>each", "each>end"),
        lambda n: inside("call", range(5), ended(got=[{"twice": 2 * i} for i in (1, 2, 3, 4, 5)])),
    ),
    "loop at once": Shape(
        [loop("each", *_TWICE, links=linked("call>twice"), items=list(range(9)), max_concurrency=4)],
        linked("start>each"),
        lambda n: inside("call", range(9), ended(each={"results": [{"twice": 2 * i} for i in range(9)]})),
    ),
    "nested loops": Shape(
        [
            loop("rows", _CELLS, items=[1, 2, 3], max_concurrency=2, **{"as": "row"}),
            end(rows="${rows.output.results}"),
        ],
        linked("start>rows", "rows>end"),
        _rows,
    ),
    "while": Shape(
        [
            loop(
                "until",
                call("call"),
                says("i", "iteration.index"),
                links=linked("call>i"),
                **{"while": "iteration.index < 4"},
            ),
            end(made="${until.output.results}"),
        ],
        linked("start>until", "until>end"),
        lambda n: inside("call", range(4), ended(made=[{"i": i} for i in range(4)])),
    ),
    "loop with a failure": Shape(
        [
            loop(
                "each",
                *(call("call", "${item}"), call("bad", "${item}", "broken")),
                links=[on("call", "bad", "item == 2")],
                items=[0, 1, 2, 3],
                max_concurrency=2,
                body={"fail_fast": False},
            ),
            *(call("rescue"), end(n=N)),
        ],
        [*linked("start>each", "each>end", "rescue>end"), on("each", "rescue")],
        lambda n: inside("call", range(4), ended("rescue", n=n)),
    ),
    "wait": Shape(
        [step("wait", "wait", seconds="${workflow.input.seconds}"), call("call"), end(n=N)],
        linked("start>wait", "wait>call", "call>end"),
        lambda n: ended("call", n=n),
    ),
    "signal": Shape(
        [step("wait", "wait", signal="go"), call("call", "${wait.output.n}"), end(n="${call.output.body.n}")],
        linked("start>wait", "wait>call", "call>end"),
        lambda n: ended("call", n=n),
    ),
    "signal too late": Shape(
        [step("wait", "wait", signal="never", timeout_seconds=0.3), call("call"), end(n=N)],
        [*linked("start>wait", "wait>end", "call>end"), on("wait", "call")],
        lambda n: ended("call", n=n),
    ),
    "parent": Shape(
        [
            step("sub", "sub_workflow", workflow_name="child", parameters={"n": N}),
            call("after"),
            end(n="${sub.output.n}"),
        ],
        linked("start>sub", "sub>after", "after>end"),
        lambda n: ended("after", n=n),
    ),
    "work": Shape(
        [
            step("work", "external_task", task_type="work", input={"n": N}, lease_seconds=1)
            | {"retry": QUICK | {"max_attempts": 50}},
            *(call("call", "${work.output.n}"), end(n="${call.output.body.n}")),
        ],
        linked("start>work", "work>call", "call>end"),
        lambda n: ended("call", n=n),
    ),
    "person": Shape(
        [
            step("ask", "human_task", data={"n": N}),
            *(call("call", "${ask.output.n}"), end(n="${call.output.body.n}")),
        ],
        linked("start>ask", "ask>call", "call>end"),
        lambda n: ended("call", n=n),
    ),
    "one at a time": Shape(
        [call("call"), step("short", "wait", seconds=0.05), end(n=N)],
        linked("start>call", "call>short", "short>end"),
        lambda n: ended("call", n=n),
        most=1,
    ),
    "failure": Shape(
        [call("call"), call("bad", path="broken"), _WAITING],
        linked("start>call", "call>bad", "start>wait"),
        lambda n: ended("call", status="failed"),
    ),
    "to be retried": Shape(
        [
            call("before"),
            loop("each", call("call", "${item}", "{{door}}"), items=[1, 2, 3], max_concurrency=2),
            end(n=N),
        ],
        linked("start>before", "before>each", "each>end"),
        lambda n: ended("before", n=n)._replace(
            effects=frozenset({"before/-/0", "call/0/1", "call/1/1", "call/2/1"})
        ),
    ),
    "to be cancelled": Shape(
        [
            call("before"),
            step("sub", "sub_workflow", workflow_name="endless child", parameters={"n": N}),
            call("after"),
        ],
        linked("start>before", "before>sub", "sub>after"),
        lambda n: ended("before", status="cancelled"),
    ),
    "to be paused": Shape(
        [
            *(call("a"), step("short", "wait", seconds=0.5), call("b")),
            *(call("c"), loop("each", call("call", "${item}"), items=[1, 2, 3]), end(n=N)),
        ],
        linked("start>a", "a>short", "short>b", "start>c", "c>each", "b>end", "each>end"),
        lambda n: inside("call", range(3), ended("a", "b", "c", n=n)),
    ),
}
"""What clients ask for."""
