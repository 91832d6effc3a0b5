"""Sealed parameters on their way outside: opened in a config just before it runs, and nowhere else."""

from __future__ import annotations

from typing import Any, Protocol

from executor.domain.definition import Parameter
from executor.domain.secrets import sealed_texts

PARAMETER_CONTEXT = "execution:parameter"
"""What a secret parameter is sealed for; a sealed webhook secret does not open in a workflow's config."""


class Opener(Protocol):
    async def seal(self, organization_id: str, plaintext: str, context: str) -> str: ...

    async def open(self, organization_id: str, sealed: str, context: str) -> str: ...


async def seal_parameters(
    opener: Opener,
    organization_id: str,
    declared: tuple[Parameter, ...],
    given: dict[str, Any],
    *,
    keeps_sealed: bool = False,
) -> dict[str, Any]:
    """The given parameters with the secret ones sealed. A secret is a text; null stays null, and so does what one run
    hands on sealed to another where this `keeps_sealed`."""
    sealed = dict(given)
    for parameter in declared:
        value = given.get(parameter.name)
        if parameter.secret and isinstance(value, str) and not (keeps_sealed and sealed_texts(value) == [value]):
            sealed[parameter.name] = await opener.seal(organization_id, value, PARAMETER_CONTEXT)
    return sealed


async def open_config(opener: Opener, organization_id: str, config: Any, opened: set[str]) -> Any:
    """The config with every sealed text in it opened; what was opened is added to `opened`."""
    if isinstance(config, str):
        for sealed in sealed_texts(config):
            secret = await opener.open(organization_id, sealed, PARAMETER_CONTEXT)
            opened.add(secret)
            config = config.replace(sealed, secret)
        return config
    if isinstance(config, dict):
        return {key: await open_config(opener, organization_id, value, opened) for key, value in config.items()}
    if isinstance(config, list):
        return [await open_config(opener, organization_id, value, opened) for value in config]
    return config
