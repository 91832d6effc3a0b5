"""The JavaScript verifier, in Node: it makes of every case what the Python one does."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest

from tests.integration.test_javascript import PACKAGE, here, ran
from tests.unit.webhooks.verifying import CASES, as_json

__all__ = ["here"]

pytestmark = pytest.mark.asyncio(loop_scope="session")


async def test_it_makes_of_every_case_what_the_python_one_does(here: Path) -> None:
    (here / "cases.json").write_text(json.dumps([as_json(case) for case in CASES]))
    *lines, last = (await ran(here, "verify.mjs")).splitlines()
    assert len(lines) == len(CASES)
    for case, line in zip(CASES, lines, strict=True):
        for found in json.loads(line):
            assert found.get("error") == case.error, (case.name, found)
            if case.error is None:
                assert found["message"] == json.loads(case.body)
            elif isinstance(case.secret, str) and len(case.secret) > 7:
                assert case.secret not in found["said"]
    parsed, present = json.loads(last)
    assert "before anything parses it" in parsed["said"]
    assert present["error"] == "TimestampTooOld"


async def test_its_types_name_what_it_exports() -> None:
    text, types = ((PACKAGE / name).read_text() for name in ("webhook.js", "webhook.d.ts"))
    exported = set(re.findall(r"^export (?:async )?(?:class|function) (\w+)", text, re.MULTILINE))
    declared = set(re.findall(r"^export (?:class|function) (\w+)", types, re.MULTILINE))
    assert exported == declared > {"verify", "VerificationError"}
    assert set(json.loads((PACKAGE / "package.json").read_text())["files"]) == {
        *(each.name for each in PACKAGE.iterdir() if each.suffix in (".js", ".ts")),
    }
