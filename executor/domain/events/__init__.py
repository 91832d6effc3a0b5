"""The catalogue: every type of event there is, by its name in the log.

A name, once released, never changes its meaning; a new shape of its data gets an upcaster in `storage/codec.py`.
"""

from __future__ import annotations

from executor.domain.events import agent, apikey, execution, loop, schedule, task, template, webhook, workflow
from executor.domain.events.base import (
    ComponentFacts,
    Event,
    ExecutionFacts,
    Fact,
    Failure,
    Stamp,
)

_CLASSES: tuple[type[Event], ...] = (
    workflow.WorkflowCreated,
    workflow.WorkflowUpdated,
    workflow.WorkflowActivated,
    workflow.WorkflowDeactivated,
    workflow.WorkflowArchived,
    workflow.WorkflowDeleted,
    execution.ExecutionCreated,
    execution.ExecutionStarted,
    execution.ExecutionReclaimed,
    execution.ExecutionPaused,
    execution.ExecutionResumed,
    execution.ExecutionSignalled,
    execution.ExecutionReprioritized,
    execution.ExecutionRetried,
    execution.ExecutionCompleted,
    execution.ExecutionFailed,
    execution.ExecutionCancelled,
    execution.ExecutionTerminated,
    execution.ComponentStarted,
    execution.ComponentCompleted,
    execution.ComponentFailed,
    execution.ComponentRetryScheduled,
    execution.ComponentSkipped,
    execution.ComponentCancelled,
    execution.TimerScheduled,
    execution.TimerFired,
    execution.LogWritten,
    task.TaskCreated,
    task.TaskAssigned,
    task.TaskStarted,
    task.TaskReleased,
    task.TaskReassigned,
    task.TaskEscalated,
    task.TaskCompleted,
    task.TaskFailed,
    task.TaskCancelled,
    task.TaskRetried,
    loop.LoopStarted,
    loop.IterationCompleted,
    loop.IterationFailed,
    webhook.WebhookCreated,
    webhook.WebhookUpdated,
    webhook.WebhookDisabled,
    webhook.WebhookEnabled,
    webhook.WebhookDeleted,
    webhook.DeliveryExhausted,
    agent.AgentRegistered,
    agent.AgentUpdated,
    agent.AgentDeleted,
    apikey.ApiKeyCreated,
    apikey.ApiKeyRevoked,
    template.TemplateCreated,
    template.TemplateRated,
    template.TemplateDeleted,
    schedule.ScheduleCreated,
    schedule.ScheduleUpdated,
    schedule.SchedulePaused,
    schedule.ScheduleResumed,
    schedule.ScheduleFired,
    schedule.ScheduleReleased,
    schedule.ScheduleSkipped,
    schedule.ScheduleDeleted,
)

CATALOGUE: dict[str, type[Event]] = {cls.type: cls for cls in _CLASSES}

__all__ = ["CATALOGUE", "ComponentFacts", "Event", "ExecutionFacts", "Fact", "Failure", "Stamp"]
