"""`extract`: values out of an HTML page by CSS selectors, in a process of its own with limits."""

from __future__ import annotations

import asyncio
import sys
from asyncio.subprocess import DEVNULL, PIPE
from collections.abc import Iterator
from pathlib import Path
from typing import Any, ClassVar

import msgspec
from cssselect import HTMLTranslator, SelectorError

from executor.components.base import Component, ComponentError, Context, Output, config_of
from executor.domain.references import holds_reference

_PROGRAM = Path(__file__).parent.parent / "extraction.py"
_SECONDS = 15.0
_AT_ONCE = 2
_SELECTOR = {"type": "string", "minLength": 1, "maxLength": 512}


class Extract(Component):
    type = "extract"
    name = "Extract"
    description = "Takes values out of an HTML page by CSS selectors: the text of a match, or one of its attributes."
    category = "data"
    config_schema = config_of(
        {
            "html": {"type": "string", "maxLength": 1024 * 1024},
            "selectors": {
                "type": "object",
                "minProperties": 1,
                "maxProperties": 100,
                "additionalProperties": {
                    "oneOf": [
                        _SELECTOR,
                        config_of(
                            {
                                "selector": _SELECTOR,
                                "attribute": {"type": "string", "minLength": 1, "maxLength": 128},
                                "all": {"type": "boolean", "default": False},
                            },
                            "selector",
                        ),
                    ]
                },
            },
        },
        "html",
        "selectors",
    )
    output_schema: ClassVar[dict[str, Any]] = {"type": "object"}

    def __init__(self) -> None:
        self._slots = asyncio.Semaphore(_AT_ONCE)

    def faults(self, config: dict[str, Any]) -> Iterator[tuple[str, str]]:
        selectors = config.get("selectors")
        for name, wanted in selectors.items() if isinstance(selectors, dict) else ():
            text = wanted.get("selector") if isinstance(wanted, dict) else wanted
            if isinstance(text, str) and not holds_reference(text) and (wrong := _wrong(text)):
                yield f"selectors.{name}", f"the selector is wrong: {wrong}"

    async def run(self, context: Context) -> Output:
        for field, wrong in self.faults(context.config):
            raise ComponentError(f"{field}: {wrong}")
        async with self._slots:
            return Output(await _extracted(context.config))


def _wrong(selector: str) -> str | None:
    try:
        HTMLTranslator().css_to_xpath(selector)
    except (SelectorError, RecursionError) as error:
        return str(error) or "it is nested too deeply"
    return None


async def _extracted(config: dict[str, Any]) -> Any:
    program = (sys.executable, "-I", str(_PROGRAM))
    process = await asyncio.create_subprocess_exec(*program, stdin=PIPE, stdout=PIPE, stderr=DEVNULL)
    try:
        async with asyncio.timeout(_SECONDS):
            answer, _ = await process.communicate(msgspec.json.encode(config))
    except TimeoutError:
        raise ComponentError(f"the selectors took longer than {_SECONDS:g} seconds", code="TIMEOUT_ERROR") from None
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()
    if process.returncode:
        raise ComponentError("the selectors took too much time or memory over this page")
    return msgspec.json.decode(answer)
