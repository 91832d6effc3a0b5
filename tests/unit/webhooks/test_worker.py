from __future__ import annotations

import pytest

from webhooks import worker
from webhooks.worker import Term


def test_a_term_ends_for_its_successor_or_by_itself(monkeypatch: pytest.MonkeyPatch) -> None:
    term = Term()
    assert not term.is_ending
    assert 0 < term.seconds_left() <= worker._OVER_AFTER_SECONDS
    monkeypatch.setattr(worker, "_RENEWED_AFTER_SECONDS", 0)
    assert term.is_ending
    assert term.seconds_left() > 0
    term.is_succeeded = True
    assert term.seconds_left() == 0
    monkeypatch.setattr(worker, "_OVER_AFTER_SECONDS", 0)
    assert Term().seconds_left() <= 0


def test_a_pump_is_over_well_before_arq_would_cancel_it() -> None:
    assert worker._RENEWED_AFTER_SECONDS < worker._OVER_AFTER_SECONDS < worker._JOB_TIMEOUT_SECONDS


def test_jobs_are_json_and_an_exception_becomes_its_text() -> None:
    job = {"f": "pump", "a": [3], "k": {}, "t": 1, "et": 1234}
    assert worker._deserialized(worker._serialized(job)) == job
    assert worker._deserialized(worker._serialized({"r": ValueError("no")})) == {"r": "no"}
