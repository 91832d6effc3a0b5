"""A definition as it comes in: checked with all that the hub knows, compiled, and its credentials sealed."""

from __future__ import annotations

from typing import Any

from executor.definitions.validate import compile_definition, form_of
from executor.domain.errors import Invalid, Problem
from executor.domain.workflow import State, whole
from executor.secrets import seal_credentials
from hub.agents.names import agents_named
from hub.services import Services

_NAVIGATION = "navigation"
"""The block that becomes a request."""


async def compiled(
    hub: Services, organization_id: str, raw: dict[str, Any], former: State | None = None, keeps_sealed: bool = False
) -> dict[str, Any]:
    """What a change says of a definition in any form: its graph, and how it was written. Raises `Invalid`.

    `former` is the workflow that it changes, whose credentials `[REDACTED]` keeps; `keeps_sealed` as for
    `seal_credentials`.
    """
    stored = None if former is None else whole(former.definition)
    sealed, problems = await sealed_definition(hub, organization_id, raw, stored, keeps_sealed=keeps_sealed)
    agent_named = await agents_named(hub.store.reads, organization_id, raw)
    try:
        graph = compile_definition(sealed, hub.registry, agent_named=agent_named)
    except Invalid as invalid:
        raise Invalid([*invalid.problems, *problems], str(invalid)) from None
    if problems:
        raise Invalid(problems)
    return {"definition": graph, "written": None if form_of(raw) is None else sealed}


async def sealed_definition(
    hub: Services,
    organization_id: str,
    raw: dict[str, Any],
    stored: Any = None,
    *,
    field: str = "definition",
    keeps_sealed: bool = False,
) -> tuple[dict[str, Any], list[Problem]]:
    """See `seal_credentials`."""
    outside = {type for type, component in hub.registry.items() if component.goes_outside} | {_NAVIGATION}
    return await seal_credentials(
        hub.sealer, organization_id, raw, outside, stored, field=field, keeps_sealed=keeps_sealed
    )
