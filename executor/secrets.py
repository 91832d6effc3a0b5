"""Secrets of executions: parameters and the credentials in a definition. Sealed when they come in, opened in a config
just before it runs, and nowhere else."""

from __future__ import annotations

import base64
import json
import re
from collections.abc import Container
from typing import Any, Final, Protocol
from urllib.parse import quote, quote_plus

import msgspec

from executor.domain.credentials import credentials_in
from executor.domain.definition import Parameter
from executor.domain.errors import Code, Problem
from executor.domain.references import holds_reference, resolve
from executor.domain.secrets import REDACTED, sealed_texts
from executor.domain.values import is_deep
from executor.sealing import Unsealable

PARAMETER_CONTEXT = "execution:parameter"
"""What is sealed for a config: a webhook's sealed secret does not open there."""
_SCHEME: Final = re.compile(r"(?:Bearer|Basic|Token|ApiKey) +(\S.*)", re.IGNORECASE)
_ESCAPE: Final = re.compile(r"%[0-9A-F]{2}")
_KEPT_IN_URLS: Final = ("", "/", "/@:!$&'()*+,;=", "/?:@!$'()*,;", "/?:@!$'()*,;=")
"""What others leave as it is in a URL."""


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
    """The config with every sealed text in it opened; what was opened is added to `opened`, as `forms_of` has it."""
    if isinstance(config, str):
        for sealed in sealed_texts(config):
            secret = await opener.open(organization_id, sealed, PARAMETER_CONTEXT)
            opened |= forms_of(secret)
            config = config.replace(sealed, secret)
        return config
    if isinstance(config, dict):
        return {key: await open_config(opener, organization_id, value, opened) for key, value in config.items()}
    if isinstance(config, list):
        return [await open_config(opener, organization_id, value, opened) for value in config]
    return config


def forms_of(secret: str) -> set[str]:
    """A secret that goes outside as others may write it when they say what they were sent: also in a URL, in JSON,
    in Base64, and without the scheme that stands before it in `Authorization`."""
    forms = set[str]()
    for text in (secret, *_SCHEME.findall(secret)):
        raw = text.encode("utf-8", "replace")
        urls = {written(raw, safe=safe) for safe in _KEPT_IN_URLS for written in (quote, quote_plus)}
        urls |= {_ESCAPE.sub(lambda match: match[0].lower(), url) for url in urls}
        forms |= {text, *urls, base64.b64encode(raw).decode()}
        forms |= {json.dumps(text, ensure_ascii=ascii)[1:-1] for ascii in (True, False)}
    return forms - {""}


async def seal_credentials(
    opener: Opener,
    organization_id: str,
    raw: Any,
    types: Container[str],
    stored: Any = None,
    *,
    field: str = "definition",
    keeps_sealed: bool = False,
) -> tuple[Any, list[Problem]]:
    """A definition in any form with its literal credentials sealed, and what is wrong with them.

    `stored` is the definition that it replaces: `[REDACTED]` keeps what is there, and so does what opens to the same:
    then nothing has changed. `types` are those that go outside. `keeps_sealed` is for what a template has sealed.
    """
    if is_deep(raw) or not any(True for _ in credentials_in(raw, types)):
        return raw, []
    raw = msgspec.json.decode(msgspec.json.encode(raw))
    before = {place.key: place.values[place.name] for place in credentials_in(stored, types)}
    problems: list[Problem] = []
    for place in credentials_in(raw, types, field):
        value, known = place.values[place.name], before.get(place.key)
        if value == REDACTED and known is not None:
            place.values[place.name] = known
        elif value == REDACTED:
            said = f"{REDACTED} keeps what is stored, but nothing is stored here; give the value"
            problems.append(Problem(Code.VALIDATION_ERROR, f"{place.field}: {said}", place.field))
        elif (plain := _literal(value)) and not (keeps_sealed and sealed_texts(plain) == [plain]):
            place.values[place.name] = await _sealed(opener, organization_id, plain, known)
    return raw, problems


def _literal(value: Any) -> str | None:
    """The text that a request would carry; null for what has to be resolved first, and for what is no text."""
    if isinstance(value, str):
        return None if holds_reference(value) else str(resolve(value, lambda reference: None))
    is_number = isinstance(value, int | float) and not isinstance(value, bool)
    return msgspec.json.encode(value).decode() if is_number else None


async def _sealed(opener: Opener, organization_id: str, plain: str, known: Any) -> str:
    """Sealed anew, or as it is `known` already."""
    if isinstance(known, str) and sealed_texts(known) == [known]:
        try:
            if await opener.open(organization_id, known, PARAMETER_CONTEXT) == plain:
                return known
        except Unsealable:
            pass
    return await opener.seal(organization_id, plain, PARAMETER_CONTEXT)
