"""Workflows as components see them: the one that is to be run."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any

from executor.domain.execution.parts import Header
from executor.opening import Opens

FindWorkflow = Callable[[str | None, str | None, dict[str, Any]], Awaitable[Opens]]
"""A run of the workflow of an id, else of a name, with these parameters, to be opened. Raises `ComponentError` where
there is none that may be run, or not with these."""

WorkflowsOf = Callable[[Header], FindWorkflow]
"""The workflows that a run may run."""
