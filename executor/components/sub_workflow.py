"""`sub_workflow`: runs another workflow, and waits for it. Its output is the results of that run."""

from __future__ import annotations

from typing import Any

from executor.components.base import Component, ComponentError, Context, Output, Suspend, config_of


class SubWorkflow(Component):
    type = "sub_workflow"
    name = "Sub-workflow"
    description = (
        "Runs the workflow `workflow_id`, or the one that is named `workflow_name`, with `parameters`, and ends as "
        "that run does: its results are the output, its failure is the component's. A pause, a cancellation and a "
        "termination go down to it."
    )
    category = "control"
    passes_secrets = True
    config_schema = config_of(
        {
            "workflow_id": {"type": "string", "minLength": 1, "maxLength": 128},
            "workflow_name": {"type": "string", "minLength": 1, "maxLength": 255},
            "parameters": {"type": "object"},
        },
        description="must say one of 'workflow_id' and 'workflow_name'",
        oneOf=[{"required": ["workflow_id"]}, {"required": ["workflow_name"]}],
    )

    async def run(self, context: Context) -> Suspend:
        config = context.config
        opens = await context.workflows(
            config.get("workflow_id"), config.get("workflow_name"), config.get("parameters", {})
        )
        return Suspend(signal=f"execution:{opens.id}", opens=opens)

    def signalled(self, data: Any) -> Output:
        """How the run ended. A failure is tried again, by a run of its own, where the retry policy says so; however
        deep it was, it is told once."""
        if data["status"] == "completed":
            return Output(data["results"])
        why, came = data["error"]["message"], f"its run {data['status']}: "
        raise ComponentError(why if why.startswith(came) else f"{came}{why}", code="EXECUTION_FAILED", temporary=True)
