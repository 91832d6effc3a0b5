"""How the facts of loops make a run's state: iterations that open, end and leave only their output behind.

An iteration opens the components of the body as a run opens its own. It is over when nothing in it is left to do, or
at once when something failed that nobody handles and the body's `fail_fast` says so. What of a retried loop completed
is not run again.
"""

from __future__ import annotations

from itertools import count
from typing import Any

import msgspec
from msgspec import structs

from executor.domain.definition import LOOP, Graph, own_config
from executor.domain.events import Failure, Stamp
from executor.domain.events import loop as events
from executor.domain.execution.parts import Iteration, Loop
from executor.domain.execution.references import lookup_in
from executor.domain.execution.state import State, output_key
from executor.domain.references import resolve
from executor.domain.values import ComponentStatus, component_key, split_key


def body_of(state: State, loop: str) -> Graph:
    id, _ = split_key(loop)
    return state.map.home[id].bodies[id]


def loop_started(draft: State, event: events.LoopStarted, stamp: Stamp) -> None:
    key = event.key
    draft.running.pop(key, None)
    if event.fires_at is not None:
        draft.timers[key] = event.fires_at
    items = None
    if event.count is None:
        _forget_in_order(draft, key)
    else:
        items = resolve(own_config(draft.spec(key))["items"], lookup_in(draft, key))
    draft.loops[key] = Loop(
        count=event.count,
        max_concurrency=event.max_concurrency,
        items=items,
        size=_kept_size(draft, key, event.count),
    )
    _go_on(draft, key)


def _kept_size(draft: State, key: str, times: int | None) -> int:
    """Of what is kept of iterations that completed before the loop began again."""
    if not times or not draft.outputs:
        return 0
    names = (output_key(key, index) for index in range(times))
    return sum(size_of(draft.outputs[name]) for name in names if name in draft.outputs)


def size_of(output: Any) -> int:
    return len(msgspec.json.encode(output))


def iteration_completed(draft: State, event: events.IterationCompleted, stamp: Stamp) -> None:
    key = event.key
    draft.outputs[output_key(key, event.index)] = event.output_data
    _close(draft, key, event.index)
    loop = draft.loops[key]
    times = event.index + 1 if loop.count is None and not event.goes_on else loop.count
    draft.loops[key] = structs.replace(loop, count=times, size=loop.size + size_of(event.output_data))
    _go_on(draft, key)


def iteration_failed(draft: State, event: events.IterationFailed, stamp: Stamp) -> None:
    key, loop = event.key, draft.loops[event.key]
    draft.loops[key] = structs.replace(loop, failure=loop.failure or event.error)
    _close(draft, key, event.index)
    _go_on(draft, key)


def settled(draft: State, key: str) -> None:
    """A component of an iteration has ended."""
    at = iteration_of(draft, key)
    if at is not None:
        _changed(draft, at, structs.replace(draft.iterations[at], left=draft.iterations[at].left - 1))


def failed(draft: State, key: str, failure: Failure) -> None:
    """Nobody handles this failure of a component: it is its iteration's, or the run's."""
    at = iteration_of(draft, key)
    if at is None:
        draft.failure = draft.failure or failure
    else:
        found = draft.iterations[at]
        _changed(draft, at, structs.replace(found, failure=found.failure or failure))


def iteration_of(state: State, key: str) -> str | None:
    """The key of the iteration that a component is in; None for one of the run itself."""
    id, path = split_key(key)
    return component_key(state.map.home[id].loop, path) if path else None


def item_of(state: State, at: str) -> Any:
    """What an iteration goes over; null for one of a loop that runs while a condition holds."""
    found = state.iterations[at]
    items = state.loops[found.loop].items
    return items[found.index] if items is not None else None


def drop(draft: State, loop: str, *, keeps_outputs: bool = False) -> None:
    """The loop has ended, or will begin again. Without `keeps_outputs` it is as if it had never been."""
    known = draft.loops.pop(loop, None)
    if known is not None:
        for index in [each.index for each in draft.iterations.values() if each.loop == loop]:
            _forget(draft, loop, index)
    draft.finished.pop(loop, None)
    draft.timers.pop(loop, None)
    if not keeps_outputs:
        forget_outputs(draft, loop, None if known is None else max(known.count or 0, known.following))


def forget_outputs(draft: State, loop: str, most: int | None = None) -> None:
    """`most` is how many iterations it may have had, if that is known. Only where it is not, all outputs of the run
    are looked at: they are those of the loops around, too."""
    if most is not None:
        for index in range(most):
            draft.outputs.pop(output_key(loop, index), None)
    elif draft.outputs:
        for key in [key for key in draft.outputs if key.startswith(f"{loop}#")]:
            del draft.outputs[key]


def _forget_in_order(draft: State, loop: str) -> None:
    """Of a loop that runs while a condition holds: one iteration ends before the next begins."""
    for index in count():
        if draft.outputs.pop(output_key(loop, index), draft) is draft:
            return


def _changed(draft: State, at: str, now: Iteration) -> None:
    draft.iterations[at] = now
    body = body_of(draft, now.loop)
    if now.left == 0 or (now.failure is not None and body.definition.fail_fast):
        is_known = draft.loops[now.loop].count is not None or now.failure is not None
        (draft.over if is_known else draft.asking)[at] = None


def _go_on(draft: State, key: str) -> None:
    """Opens as many iterations as may be open; finds that there are none left."""
    body = body_of(draft, key)
    while _may_open(draft.loops[key], body):
        loop = draft.loops[key]
        draft.loops[key] = structs.replace(loop, following=loop.following + 1)
        if output_key(key, loop.following) not in draft.outputs:
            _open(draft, key, loop.following, body)
    loop = draft.loops[key]
    if loop.open == 0 or (loop.failure is not None and body.definition.fail_fast):
        draft.finished[key] = None


def _may_open(loop: Loop, body: Graph) -> bool:
    if loop.failure is not None and (body.definition.fail_fast or loop.count is None):
        return False
    if loop.count is None:
        return loop.open == 0
    return loop.following < loop.count and loop.open < loop.max_concurrency


def _open(draft: State, key: str, index: int, body: Graph) -> None:
    id, above = split_key(key)
    path = f"{above}.{index}" if above else str(index)
    draft.loops[key] = structs.replace(draft.loops[key], open=draft.loops[key].open + 1)
    draft.iterations[component_key(id, path)] = Iteration(loop=key, index=index, path=path, left=len(body.components))
    first = set(body.begins_with)
    for root in body.roots:
        (draft.ready if root in first else draft.dead)[component_key(root, path)] = None


def _close(draft: State, key: str, index: int) -> None:
    _forget(draft, key, index)
    draft.loops[key] = structs.replace(draft.loops[key], open=draft.loops[key].open - 1)


def _is_to_begin_again(draft: State, key: str) -> bool:
    """A loop that is not under way, and of which something may be kept for its next attempt."""
    known = draft.components.get(key)
    if known is None or known.type != LOOP:
        return False
    return known.status not in (ComponentStatus.COMPLETED, ComponentStatus.SKIPPED)


def _forget(draft: State, key: str, index: int) -> None:
    """Nothing of the iteration stays but its output, and its rows."""
    for inner in list(draft.inside(key, index)):
        if inner in draft.loops:
            drop(draft, inner)
        elif _is_to_begin_again(draft, inner):
            forget_outputs(draft, inner)
        draft.components.pop(inner, None)
        for held in (draft.unsettled, draft.taken, draft.ready, draft.dead, draft.running):
            held.pop(inner, None)
        for waiting in (draft.timers, draft.waits, draft.retries):
            waiting.pop(inner, None)
    id, above = split_key(key)
    at = component_key(id, f"{above}.{index}" if above else str(index))
    draft.iterations.pop(at, None)
    draft.over.pop(at, None)
    draft.asking.pop(at, None)
