from __future__ import annotations

import ast
import json
import sys
import time
from pathlib import Path

import pytest

from tests.unit.webhooks.verifying import BODY, CASES, PRIVATE, SENT, STANDARD, TEXT, Case, signed
from webhooks import verification
from webhooks.signing import public_key
from webhooks.verification import VerificationError, verify


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name[:40])
def test_what_is_genuine_is_parsed_and_the_rest_refused_by_name(case: Case) -> None:
    if case.error is None:
        assert verify(case.body.encode(), case.headers, case.secret, now=case.now) == json.loads(case.body)
        return
    with pytest.raises((VerificationError, ValueError)) as refused:
        verify(case.body.encode(), case.headers, case.secret, now=case.now)
    assert (type(refused.value).__name__ if case.error != "SecretError" else "SecretError") == case.error
    assert isinstance(refused.value, VerificationError) is (case.error != "SecretError")
    for each in (case.secret,) if isinstance(case.secret, str) else case.secret:
        assert len(each) < 8 or each not in str(refused.value)


def test_the_tolerance_is_five_minutes_around_now_unless_said() -> None:
    headers = signed(TEXT)
    with pytest.raises(verification.TimestampTooOld, match="seconds ago; 300 are allowed"):
        verify(BODY.encode(), headers, TEXT)
    verify(BODY.encode(), headers, TEXT, tolerance_seconds=time.time())
    with pytest.raises(verification.TimestampTooNew, match="it was sent 2 seconds in the future; 1 are allowed"):
        verify(BODY.encode(), headers, TEXT, tolerance_seconds=1, now=SENT - 2)


def test_a_public_key_without_the_package_for_it_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "cryptography.exceptions", None)
    verify(BODY.encode(), signed(STANDARD), STANDARD, now=SENT)
    with pytest.raises(ImportError, match="install the package 'cryptography'"):
        verify(BODY.encode(), signed(PRIVATE), public_key(PRIVATE), now=SENT)


def test_it_is_one_short_file_that_may_be_copied() -> None:
    """So it imports the standard library alone, but for what a public key needs, and only then."""
    text = Path(verification.__file__).read_text()
    imported = {
        (node.module or "" if isinstance(node, ast.ImportFrom) else node.names[0].name).partition(".")[0]
        for node in ast.parse(text).body
        if isinstance(node, ast.ImportFrom | ast.Import)
    }
    assert imported <= sys.stdlib_module_names
    assert len(text.splitlines()) < 120
