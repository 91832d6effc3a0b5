"""One attempt at one component, as the engine makes it, over states that deciding gave."""

from __future__ import annotations

import asyncio
import datetime
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any

import pytest
from msgspec import structs

from executor.attempt import Attempts
from executor.components.base import Component, ComponentError, Context, Output, Suspend, config_of
from executor.components.registry import BUILT_IN, Registry
from executor.definitions.validate import compile_definition
from executor.domain.definition import Definition, Parameter
from executor.domain.execution.decide import Completed, Failed, LogLine, Suspended, TimerDue
from executor.domain.values import LogLevel, plus
from executor.egress import Egress
from tests.given import ORGANIZATION, START
from tests.unit.executor.play import Play, flow

Run = Callable[[Context], Awaitable[Output | Suspend]]


class Backwards:
    """Seals by writing backwards; opens only for the organization of these tests."""

    async def seal(self, organization_id: str, plaintext: str, context: str) -> str:
        return f"sealed:v1:{plaintext[::-1]}"

    async def open(self, organization_id: str, sealed: str, context: str) -> str:
        assert organization_id == ORGANIZATION
        return sealed.removeprefix("sealed:v1:")[::-1]


class Probe(Component):
    """Does what the test says, and keeps the contexts that it was given."""

    type = "probe"
    name = "Probe"
    description = "Does what a test says."
    category = "test"
    config_schema = config_of({"text": {}, "number": {"type": "number"}})
    goes_outside = True
    doing: Run
    contexts: list[Context]

    async def run(self, context: Context) -> Output | Suspend:
        self.contexts.append(context)
        return await self.doing(context)


class Stage:
    """A registry with a probe, and attempts over it."""

    def __init__(self, egress: Egress) -> None:
        self.registry = Registry((*BUILT_IN, Probe))
        probe = self.registry["probe"]
        assert isinstance(probe, Probe)
        self.probe = probe
        self.probe.contexts = []
        self.answer(Output({"ok": True}))
        self.attempts = Attempts(self.registry, egress, Backwards())

    def answer(self, answer: Output | Suspend) -> None:
        async def doing(context: Context) -> Output | Suspend:
            return answer

        self.probe.doing = doing

    def fail(self, error: BaseException) -> None:
        async def doing(context: Context) -> Output | Suspend:
            raise error

        self.probe.doing = doing

    def play(self, *chains: str, config: Any = None, parameters: dict[str, Any] | None = None, **spec: Any) -> Play:
        """A run whose component `a` is the probe and has just started."""
        return (
            Play(probed(flow(*chains), config or {}, **spec), parameters).claim().complete("start", output={"s": 1})
        )

    async def attempt(self, *chains: str, **more: Any) -> Any:
        return await self.attempts.attempt(self.play(*chains, **more).state, "a")


def probed(plan: Definition, config: dict[str, Any], **spec: Any) -> Definition:
    components = tuple(
        structs.replace(each, type="probe", config=config, **spec) if each.id == "a" else each
        for each in plan.components
    )
    return structs.replace(plan, components=components)


def conditional(plan: Definition, *conditions: str | None) -> Definition:
    """The plan with these conditions on its connections, in order."""
    connections = tuple(
        structs.replace(each, condition=condition)
        for each, condition in zip(plan.connections, conditions, strict=True)
    )
    return structs.replace(plan, connections=connections)


@pytest.fixture
async def stage() -> AsyncIterator[Stage]:
    egress = Egress()
    yield Stage(egress)
    await egress.close()


async def test_a_registered_type_runs_through_a_definition_and_the_decider(stage: Stage) -> None:
    raw = {
        "components": [
            {"id": "begin", "type": "start"},
            {"id": "a", "type": "probe", "config": {"text": "is ${begin.output.x}"}},
            {"id": "done", "type": "end", "config": {"output": {"answer": "${a.output}"}}},
        ],
        "connections": [{"source": "begin", "target": "a"}, {"source": "a", "target": "done"}],
    }
    stage.answer(Output([1, 2]))
    play = Play(compile_definition(raw, stage.registry), {"x": 5}).claim()
    while not play.state.is_ended:
        play.take(*[await stage.attempts.attempt(play.state, id) for id in play.running])
    assert stage.probe.contexts[0].config == {"text": "is 5"}
    assert play.state.results == {"answer": [1, 2]}


# what a component is given


async def test_a_component_is_given_its_resolved_config_the_input_and_its_names(stage: Stage) -> None:
    play = stage.play(
        "start > a", config={"text": ["${start.output.s}", "{{x}}"], "number": "{{x}}"}, parameters={"x": 2}
    )
    await stage.attempts.attempt(play.state, "a")
    (context,) = stage.probe.contexts
    assert context.config == {"text": [1, 2], "number": 2}
    assert context.input == {"x": 2}
    assert (context.execution_id, context.component_id, context.attempt) == (play.state.run.id, "a", 1)
    assert context.first_started_at == START


async def test_the_idempotency_key_stays_the_same_when_another_engine_takes_over(stage: Stage) -> None:
    play = stage.play("start > a")
    await stage.attempts.attempt(play.state, "a")
    play.tick(60).claim("engine-2")
    await stage.attempts.attempt(play.state, "a")
    first, second = stage.probe.contexts
    assert first.idempotency_key == second.idempotency_key == f"{play.state.run.id}/a/-/0"
    assert (first.attempt, second.attempt) == (1, 2)
    assert second.first_started_at == START


async def test_defaults_of_parameters_are_in_the_input(stage: Stage) -> None:
    plan = probed(flow("start > a"), {"text": "{{x}}{{y}}"})
    declared = (Parameter(name="x", default_value=7), Parameter(name="y"), Parameter(name="z", default_value=1))
    play = Play(structs.replace(plan, parameters=declared), {"z": 2}).claim().complete("start")
    await stage.attempts.attempt(play.state, "a")
    assert stage.probe.contexts[0].input == {"x": 7, "y": None, "z": 2}
    assert stage.probe.contexts[0].config == {"text": "7"}


async def test_a_reference_to_a_skipped_or_failed_ancestor_is_null(stage: Stage) -> None:
    plan = probed(flow("start > b", "b !> a", "start ?> c > a"), {"text": ["${b.output.x}", "${c.output}"]})
    play = Play(plan).claim().complete("start").fail("b")
    await stage.attempts.attempt(play.state, "a")
    assert stage.probe.contexts[0].config == {"text": [None, None]}


async def test_cel_sees_input_steps_execution_and_the_output_that_led_here(stage: Stage) -> None:
    play = stage.play("start > a > b", parameters={"x": 2})
    await stage.attempts.attempt(play.state, "a")
    variables = stage.probe.contexts[0].variables
    assert variables["input"] == {"x": 2}
    assert variables["steps"] == {
        "start": {"status": "completed", "output": {"s": 1}},
        "a": {"status": "running", "output": None},
        "b": {"status": "pending", "output": None},
    }
    assert variables["execution"]["workflow_name"] == "report"
    assert variables["output"] == {"s": 1}
    assert list(variables) == ["input", "steps", "execution", "output"]


async def test_where_several_lead_here_there_is_no_one_output(stage: Stage) -> None:
    play = Play(probed(flow("start > b > a", "start > c > a"), {})).claim().complete("start").complete("b", "c")
    await stage.attempts.attempt(play.state, "a")
    assert stage.probe.contexts[0].variables["output"] is None


# what becomes of its answer


async def test_an_output_is_recorded_with_the_connections_taken_and_its_log_lines(stage: Stage) -> None:
    stage.answer(Output({"ok": 1}, (LogLine(LogLevel.INFO, "hello"),)))
    assert await stage.attempt("start > a > b", "a !> c", "a > d") == Completed(
        "a", 1, {"ok": 1}, (1, 3), (LogLine(LogLevel.INFO, "hello"),)
    )


async def test_an_output_is_what_the_log_will_give_back(stage: Stage) -> None:
    day = datetime.datetime(2026, 1, 31, tzinfo=datetime.UTC)
    stage.answer(Output({"tuple": (1, 2), "time": day, "nan": float("nan"), 5: "five"}))
    completed = await stage.attempt("start > a")
    assert completed.output == {"tuple": [1, 2], "time": "2026-01-31T00:00:00Z", "nan": None, "5": "five"}


@pytest.mark.parametrize(
    "value", [object(), {1: object()}, "\ud800", {("a", "b"): 1}, pytest.param(10**5000, id="huge")]
)
async def test_an_output_that_is_no_json_fails(stage: Stage, value: Any) -> None:
    stage.answer(Output(value))
    failed = await stage.attempt("start > a")
    assert (failed.failure.code, failed.failure.message) == ("COMPONENT_ERROR", "the output is not JSON")
    assert not failed.temporary


async def test_an_output_is_at_most_one_mebibyte_and_a_hundred_levels_deep(stage: Stage) -> None:
    stage.answer(Output("x" * (1024 * 1024 - 2)))
    assert isinstance(await stage.attempt("start > a"), Completed)
    stage.answer(Output("x" * (1024 * 1024 - 1)))
    assert (await stage.attempt("start > a")).failure.code == "OUTPUT_TOO_LARGE"
    for depth in (101, 500, 5000):
        deep: Any = 0
        for _ in range(depth):
            deep = [deep]
        stage.answer(Output(deep))
        assert isinstance(await stage.attempt("start > a"), Failed)
        while isinstance(deep, list):
            deep = deep.pop()


async def test_a_component_may_suspend(stage: Stage) -> None:
    stage.answer(Suspend(plus(START, 60)))
    assert await stage.attempt("start > a > b") == Suspended("a", 1, plus(START, 60))


async def test_a_failure_is_recorded_with_its_kind_and_the_error_connections(stage: Stage) -> None:
    stage.fail(ComponentError("it broke", code="X", temporary=True, details={"status": 500}))
    failed = await stage.attempt("start > a > b", "a !> c")
    assert isinstance(failed, Failed)
    assert (failed.temporary, failed.taken, failed.attempt) == (True, (2,), 1)
    assert -1 <= failed.jitter <= 1
    assert structs.asdict(failed.failure) == {
        "code": "X",
        "message": "it broke",
        "component_id": "a",
        "details": {"status": 500},
    }


@pytest.mark.parametrize("error", [ValueError("a secret"), KeyError("x"), asyncio.CancelledError(), RecursionError()])
async def test_a_crash_is_a_final_failure_that_shows_no_text_of_the_exception(
    stage: Stage, error: BaseException
) -> None:
    stage.fail(error)
    failed = await stage.attempt("start > a")
    assert (failed.failure.message, failed.temporary) == ("the component 'probe' crashed", False)


async def test_details_without_end_are_left_out(stage: Stage) -> None:
    deep: Any = 0
    for _ in range(5000):
        deep = [deep]
    stage.fail(ComponentError("it broke", details={"body": deep}))
    assert (await stage.attempt("start > a")).failure.details is None
    while isinstance(deep, list):
        deep = deep.pop()


async def test_an_attempt_that_is_told_to_stop_stops(stage: Stage) -> None:
    started = asyncio.Event()

    async def doing(context: Context) -> Output:
        started.set()
        await asyncio.Event().wait()
        return Output(None)

    stage.probe.doing = doing
    task = asyncio.create_task(stage.attempt("start > a"))
    await started.wait()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task


async def test_a_time_limit_is_a_temporary_failure(stage: Stage) -> None:
    async def doing(context: Context) -> Output:
        await asyncio.Event().wait()
        return Output(None)

    stage.probe.doing = doing
    failed = await stage.attempt("start > a", timeout_seconds=0.01)
    assert (failed.failure.code, failed.temporary) == ("TIMEOUT_ERROR", True)
    assert failed.failure.message == "'a' did not end within 0.01 seconds"


async def test_a_resolved_config_that_breaks_the_schema_is_a_final_failure_that_shows_no_value(stage: Stage) -> None:
    failed = await stage.attempt("start > a", config={"number": "{{x}}"}, parameters={"x": "hunter2"})
    assert not failed.temporary
    assert failed.failure.message.startswith("config.number: ")
    assert "hunter2" not in failed.failure.message
    assert stage.probe.contexts == []


async def test_a_type_that_is_no_longer_installed_is_a_final_failure(stage: Stage) -> None:
    play = stage.play("start > a")
    failed = await Attempts(Registry(), Egress(), Backwards()).attempt(play.state, "a")
    assert isinstance(failed, Failed)
    assert failed.failure.message == "there is no component type 'probe' here any more"


# secrets


async def test_a_secret_is_opened_for_what_goes_outside_and_found_in_whatever_comes_back(stage: Stage) -> None:
    async def doing(context: Context) -> Output:
        text = context.config["text"]
        return Output({"echo": text, text: 1}, (LogLine(LogLevel.INFO, f"sent {text}"),))

    stage.probe.doing = doing
    completed = await stage.attempt("start > a", config={"text": "Bearer {{x}}"}, parameters={"x": "sealed:v1:cba"})
    assert stage.probe.contexts[0].config == {"text": "Bearer abc"}
    assert completed.output == {"echo": "Bearer [REDACTED]", "Bearer [REDACTED]": 1}
    assert completed.logs[0].message == "sent Bearer [REDACTED]"


async def test_a_secret_is_found_in_failures_too(stage: Stage) -> None:
    stage.fail(ComponentError("no abc here", details={"sent": ["abc"]}))
    failed = await stage.attempt("start > a", config={"text": "{{x}}"}, parameters={"x": "sealed:v1:cba"})
    assert failed.failure.message == "no [REDACTED] here"
    assert failed.failure.details == {"sent": ["[REDACTED]"]}


async def test_a_secret_stays_sealed_for_what_does_not_go_outside(stage: Stage) -> None:
    plan = flow("start > b")
    plan = structs.replace(
        plan,
        components=(plan.components[0], structs.replace(plan.components[1], config={"message": "it is {{x}}"})),
    )
    play = Play(plan, {"x": "sealed:v1:cba"}).claim().complete("start")
    completed = await stage.attempts.attempt(play.state, "b")
    assert isinstance(completed, Completed)
    assert "abc" not in completed.logs[0].message


# conditions of what leads on


async def taken(stage: Stage, plan: Definition, parameters: dict[str, Any] | None = None) -> Any:
    play = Play(probed(plan, {}), parameters).claim().complete("start", output={"s": 1})
    return await stage.attempts.attempt(play.state, "a")


async def test_conditions_are_evaluated_once_over_the_output_and_recorded(stage: Stage) -> None:
    plan = conditional(
        flow("start > a", "a ?> b", "a ?> c", "a > d", "a > e"), None, "output.ok", "!output.ok", None, "false"
    )
    assert (await taken(stage, plan)).taken == (1, 3)


async def test_a_condition_sees_the_component_that_it_leads_from_in_steps_too(stage: Stage) -> None:
    plan = conditional(
        flow("start > a", "a ?> b"),
        None,
        "steps.a.status == 'completed' && steps.a.output.ok && steps.start.output.s == 1",
    )
    assert (await taken(stage, plan)).taken == (1,)


async def test_a_blank_condition_is_none(stage: Stage) -> None:
    assert (await taken(stage, conditional(flow("start > a", "a > b"), None, "  \n"))).taken == (1,)


@pytest.mark.parametrize("condition", ["output.nope", "output", "1", "'true'", "input.x.y"])
async def test_a_condition_that_errs_or_is_no_bool_fails_its_component(stage: Stage, condition: str) -> None:
    plan = conditional(flow("start > a", "a ?> b", "a !> c"), None, condition, None)
    failed = await taken(stage, plan)
    assert isinstance(failed, Failed)
    assert failed.failure.message.startswith("the condition of a → b failed: ")
    assert (failed.temporary, failed.taken) == (False, (2,))


async def test_an_error_connection_may_have_a_condition_and_is_not_taken_where_that_errs(stage: Stage) -> None:
    stage.fail(ComponentError("it broke"))
    plan = flow("start > a", "a !> b", "a !> c", "a !> d")
    plan = conditional(plan, None, "input.x == 1", "input.x == 2", "steps.a.status == 'failed'")
    assert (await taken(stage, plan, {"x": 1})).taken == (1, 3)
    assert (await taken(stage, conditional(plan, None, "input.nope", None, None), {"x": 1})).taken == ()


# timers


def test_a_timer_that_is_due_takes_the_connections_whose_conditions_hold(stage: Stage) -> None:
    plan = conditional(flow("start > a", "a ?> b", "a ?> c"), None, "output == null", "input.x == 2")
    play = Play(probed(plan, {}), {"x": 2}).claim().complete("start").suspend("a", 5)
    assert stage.attempts.timer_due(play.state, "a") == TimerDue("a", None, (1, 2))


def test_a_timer_whose_condition_errs_fails_its_component_and_the_run_goes_on(stage: Stage) -> None:
    plan = conditional(flow("start > a", "a ?> b", "a !> c"), None, "output.nope", None)
    play = Play(probed(plan, {})).claim().complete("start").suspend("a", 5).tick(5)
    due = stage.attempts.timer_due(play.state, "a")
    play.take(due)
    assert play.statuses() == {"start": "completed", "a": "failed", "b": "skipped", "c": "running"}
