"""A whole export in an empty hub gives the same events, hashes, rows and names; all else is refused by its line."""

from __future__ import annotations

import asyncio
import gzip
import json
import os
import re
import shutil
from collections.abc import AsyncIterator, Callable
from datetime import datetime
from pathlib import Path
from typing import Any, NamedTuple

import pytest
import pytest_asyncio

from executor.clock import SystemClock
from executor.ports import Metadata
from hub.auth.apikeys import new_key
from hub.export_options import Form
from hub.exports import Selection, export
from hub.imports import ImportFailed, import_events
from hub.inspect import InspectError
from hub.keys import create_key, organization_named
from hub.settings import Settings
from hub.wiring import opened_store
from tests.integration.carrying import FOLDED, TOKEN, count, live, meta, table
from tests.integration.forgetting import FORGETFUL
from tests.integration.hubs import COMMAND, end, environment, runcast, running, until

pytestmark = FORGETFUL


class Past(NamedTuple):
    """A hub that has stopped, and its log in both forms, exported while it ran."""

    data_dir: Path
    ndjson: Path
    cloudevents: Path

    @property
    def lines(self) -> list[dict[str, Any]]:
        return parsed(self.ndjson)


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def past(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Past]:
    directory = tmp_path_factory.mktemp("past")
    made = Past(directory / "hub", directory / "log.ndjson", directory / "log.ce.gz")
    async with running(made.data_dir) as hub:
        await live(hub)
        settings = Settings(data_dir=made.data_dir)
        await export(settings, Selection(), output=made.ndjson, form=Form.NDJSON, compress=None)
        await export(settings, Selection(), output=made.cloudevents, form=Form.CLOUDEVENTS, compress=None)
        head = hub.head
    assert len(made.lines) == head, "nothing happened while it was exported"
    yield made


async def exported(past: Past, output: Path, form: Form = Form.NDJSON, **selection: Any) -> list[dict[str, Any]]:
    settings = Settings(data_dir=past.data_dir)
    await export(settings, Selection(**selection), output=output, form=form, compress=None)
    return parsed(output)


def parsed(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_bytes().splitlines()]


def give_key(past: Past, data_dir: Path) -> None:
    data_dir.mkdir()
    shutil.copy(past.data_dir / "secret.key", data_dir)


async def imported(source: Path, data_dir: Path, past: Past | None = None) -> None:
    """With the secret key of the past, where it is given."""
    if past is not None:
        give_key(past, data_dir)
    await import_events(Settings(data_dir=data_dir), source)


async def test_every_line_is_an_event_as_the_api_shows_it_with_its_data_as_it_is_stored(past: Past) -> None:
    lines = past.ndjson.read_bytes().splitlines()
    stored = table(past.data_dir, "events")
    for raw, line, row in zip(lines, past.lines, sorted(stored), strict=True):
        assert (line["position"], line["id"], line["type"], line["schema"]) == row[:4]
        assert b'"data":' + row[10] + b',"metadata":{"actor":' in raw
        assert set(line["metadata"]) == {"actor", "request_id", "correlation_id", "causation_id"}
        assert line["hash"] == row[13].hex()
    assert not any(TOKEN.encode() in line for line in lines)
    assert any(b"sealed:v1:" in line for line in lines)


async def test_the_first_event_of_each_organization_brings_it_sealed(past: Past) -> None:
    brought = {}
    for line in past.lines:
        assert ("organization" in line) is (line["organization_id"] not in brought)
        brought.setdefault(line["organization_id"], line.get("organization"))
    assert sorted(tuple(each.values()) for each in brought.values()) == table(past.data_dir, "organizations")
    assert all(each["sealed_key"].startswith("sealed:v1:") for each in brought.values())


async def test_an_export_is_for_its_owner_only_and_leaves_nothing_else_behind(past: Past, tmp_path: Path) -> None:
    await exported(past, tmp_path / "a.ndjson")
    assert (tmp_path / "a.ndjson").stat().st_mode & 0o777 == 0o600
    (tmp_path / "there").mkdir()
    with pytest.raises(InspectError, match="cannot be written"):
        await exported(past, tmp_path / "there")
    with pytest.raises(InspectError, match="cannot be written"):
        await exported(past, tmp_path / "nowhere" / "a.ndjson")
    assert sorted(os.listdir(tmp_path)) == ["a.ndjson", "there"]


@pytest.mark.parametrize("form", list(Form))
async def test_an_imported_hub_has_the_same_events_hashes_rows_and_names_under_a_new_epoch(
    past: Past, tmp_path: Path, form: Form
) -> None:
    target = tmp_path / "target"
    await imported(past.ndjson if form is Form.NDJSON else past.cloudevents, target, past)
    for name in ("events", *FOLDED, "organizations"):
        assert table(target, name) == table(past.data_dir, name), name
    before, after = meta(past.data_dir), meta(target)
    assert after.pop("epoch") != before.pop("epoch")
    assert "imported" in after.pop("held")
    assert after == before
    assert table(target, "checkpoints") == [("fanout", len(past.lines))]
    again = tmp_path / "again.ndjson"
    await exported(Past(target, again, again), again)
    assert again.read_bytes() == past.ndjson.read_bytes()


async def test_through_pipes_and_gzip_too(past: Past, tmp_path: Path) -> None:
    target = tmp_path / "target"
    whole = await runcast("events", "export", "--data-dir", past.data_dir)
    assert (whole.code, whole.err) == (0, "")
    assert whole.out.encode() == past.ndjson.read_bytes()
    packed = await runcast("events", "export", "--data-dir", past.data_dir, "-o", tmp_path / "a.ndjson.gz")
    assert (packed.code, packed.out) == (0, "")
    assert re.search(r"exported \d+ events, through position \d+, hash [0-9a-f]{64}", packed.err)
    assert gzip.decompress((tmp_path / "a.ndjson.gz").read_bytes()) == past.ndjson.read_bytes()
    key = (past.data_dir / "secret.key").read_text()
    done = await runcast("events", "import", tmp_path / "a.ndjson.gz", "--data-dir", target, SECRET_KEY=key)
    assert (done.code, done.err) == (0, "")
    assert "held" in done.out
    assert "runcast take-over" in done.out
    assert packed.err.split("hash ")[1].strip() in done.out
    verified = await runcast("events", "verify", "--data-dir", target)
    assert packed.err.split("hash ")[1].strip() in verified.out


async def test_ranges_and_filters_choose_what_the_api_would(past: Past, tmp_path: Path) -> None:
    lines, output = past.lines, tmp_path / "a.ndjson"
    execution, organization = lines[-20]["execution_id"] or lines[-21]["execution_id"], lines[-1]["organization_id"]
    name = next(
        line["organization"]["name"] for line in lines if line.get("organization", {}).get("id") == organization
    )
    start, end = lines[len(lines) // 3]["time"], lines[len(lines) // 2]["time"]
    chosen: list[tuple[dict[str, Any], Callable[[dict[str, Any]], bool]]] = [
        ({"after": 5, "before": 9}, lambda line: 5 < line["position"] < 9),
        (
            {"types": ("execution.*", "*.created")},
            lambda line: bool(re.match(r"execution\.|.*\.created", line["type"])),
        ),
        ({"execution_id": execution}, lambda line: line["execution_id"] == execution),
        ({"organization": organization}, lambda line: line["organization_id"] == organization),
        (
            {"organization": name, "after": 40},
            lambda line: line["organization_id"] == organization and line["position"] > 40,
        ),
        ({"start_time": start, "end_time": end}, lambda line: start <= line["time"] < end),
        ({"after": 10**9}, lambda line: False),
    ]
    for line in lines:
        line.pop("organization", None)
    for selection, holds in chosen:
        wanted = [line for line in lines if holds(line)]
        assert wanted or "after" in selection
        assert await exported(past, output, **selection) == wanted, selection
    for wrong, word in (
        ({"types": ("a.b",)}, "a.b"),
        ({"organization": "no"}, "'no'"),
        ({"end_time": "x"}, "--end-time"),
    ):
        with pytest.raises(InspectError, match=word):
            await exported(past, output, **wrong)


async def test_cloudevents_keep_the_rules_of_the_specification(past: Past) -> None:
    """CloudEvents 1.0.2, sections 2 (names, types) and 3 (required attributes), and its JSON format."""
    seen = set()
    for line, event in zip(gzip.decompress(past.cloudevents.read_bytes()).splitlines(), past.lines, strict=True):
        cloud = json.loads(line)
        assert cloud["specversion"] == "1.0"
        assert re.fullmatch(r"/runcast/[0-9A-Z]{26}", cloud["source"]), "a URI reference"
        assert cloud["id"]
        assert (cloud["source"], cloud["id"]) not in seen
        seen.add((cloud["source"], cloud["id"]))
        assert (cloud["id"], cloud["type"], cloud["subject"]) == (event["id"], event["type"], event["stream"])
        assert datetime.fromisoformat(cloud["time"]).tzinfo is not None
        assert cloud["datacontenttype"] == "application/json"
        assert cloud["data"] == event["data"]
        assert (cloud["position"], cloud["hash"]) == (event["position"], event["hash"])
        for name, value in cloud.items():
            assert re.fullmatch(r"[a-z0-9]{1,20}", name)
            if name == "data":
                continue
            assert isinstance(value, str | int)
            assert value != ""
            assert not isinstance(value, int) or -(2**31) <= value < 2**31
            assert not re.search(r"[\x00-\x1f\x7f-\x9f]", str(value))


def changed(lines: list[bytes], index: int, **fields: Any) -> list[bytes]:
    line = json.dumps(json.loads(lines[index]) | fields, separators=(",", ":"), ensure_ascii=False).encode()
    return [*lines[:index], line, *lines[index + 1 :]]


WRONG: dict[str, tuple[Callable[[list[bytes]], list[bytes]], str]] = {
    "data": (
        lambda all: [*all[:9], all[9].replace(b'"data":{', b'"data":{"x":1,'), *all[10:]],
        "line 10, position 10",
    ),
    "a space in data": (lambda all: [*all[:9], all[9].replace(b'"data":{', b'"data":{ '), *all[10:]], "line 10"),
    "the type": (lambda all: changed(all, 4, type="workflow.deleted"), "line 5, position 5"),
    "the time": (lambda all: changed(all, 4, time="2020-01-01T00:00:00.000Z"), "line 5, position 5"),
    "the actor": (lambda all: changed(all, 4, metadata={"actor": "user:somebody"}), "line 5, position 5"),
    "the organization": (lambda all: changed(all, 4, organization_id="another"), "line 5, position 5"),
    "the schema": (lambda all: changed(all, 4, schema=2), "line 5, position 5"),
    "the hash": (lambda all: changed(all, 4, hash="0" * 64), "line 5, position 5"),
    "no hash": (lambda all: changed(all, 4, hash="soon"), "line 5"),
    "an unknown member": (lambda all: changed(all, 4, colour="red"), "line 5.*colour"),
    "one left out": (lambda all: all[:6] + all[7:], "line 7, position 8"),
    "one twice": (lambda all: all[:6] + all[5:], "line 7, position 6"),
    "two exchanged": (lambda all: [*all[:6], all[7], all[6], *all[8:]], "line 7, position 8"),
    "the beginning left out": (lambda all: all[3:], "line 1, position 4.*begin"),
    "cut off within a line": (lambda all: [*all[:6], all[6][:50]], r"line 7 \(after position 6\)"),
    "no JSON": (lambda all: [b"hello"], "line 1"),
    "nothing": (lambda all: [], "no events"),
    "an organization's key": (
        lambda all: changed(
            all, 0, organization=json.loads(all[0])["organization"] | {"sealed_key": "sealed:v1:AAAA"}
        ),
        "secret key",
    ),
    "no organization": (
        lambda all: [re.sub(rb',"organization":\{[^}]*\}', b"", line) for line in all],
        "line 1.*organization",
    ),
}


@pytest.mark.parametrize("what", list(WRONG))
async def test_an_export_that_was_changed_is_refused_where_it_was_and_nothing_after_it_is_written(
    past: Past, tmp_path: Path, what: str
) -> None:
    change, message = WRONG[what]
    source, target = tmp_path / "a.ndjson", tmp_path / "target"
    source.write_bytes(b"".join(line + b"\n" for line in change(past.ndjson.read_bytes().splitlines())))
    with pytest.raises(ImportFailed, match=message):
        await imported(source, target, past)
    assert not (target / "runcast.db").exists() or table(target, "events") == []


async def test_a_damaged_archive_is_refused(past: Past, tmp_path: Path) -> None:
    whole = past.cloudevents.read_bytes()
    for damaged in (whole[: len(whole) // 2], whole[: len(whole) // 2] + b"junk" + whole[len(whole) // 2 + 4 :]):
        source = tmp_path / "a.gz"
        source.write_bytes(damaged)
        with pytest.raises(ImportFailed, match=r"line [0-9]+"):
            await imported(source, tmp_path / "target")


@pytest.mark.parametrize("selection", [{"after": 3}, {"types": ("execution.*",)}, {"types": ("apikey.*",)}])
async def test_a_part_of_the_log_is_refused_with_the_reason(
    past: Past, tmp_path: Path, selection: dict[str, Any]
) -> None:
    part = tmp_path / "part.ndjson"
    await exported(past, part, **selection)
    with pytest.raises(ImportFailed, match="only a whole export"):
        await imported(part, tmp_path / "target")


async def test_only_an_empty_log_takes_an_import_and_only_while_no_hub_runs_on_it(past: Past, tmp_path: Path) -> None:
    target = tmp_path / "target"
    await imported(past.ndjson, target)
    with pytest.raises(ImportFailed, match="empty"):
        await imported(past.ndjson, target)
    before = table(target, "events")
    async with running(tmp_path / "other"):
        with pytest.raises(ImportFailed, match="in use"):
            await imported(past.ndjson, tmp_path / "other")
    assert table(target, "events") == before


async def test_another_secret_key_is_refused_and_a_missing_one_named(past: Past, tmp_path: Path) -> None:
    refused = await runcast("events", "import", past.ndjson, "--data-dir", tmp_path / "a", SECRET_KEY="another")
    assert refused.code == 1
    assert "RUNCAST_SECRET_KEY" in refused.err
    done = await runcast("events", "import", past.ndjson, "--data-dir", tmp_path / "b")
    assert done.code == 0
    assert "secret.key" in done.out
    refused = await runcast("up", "--port", "0", "--data-dir", tmp_path / "b")
    assert refused.code == 1
    assert "secret.key" in refused.err


async def test_an_import_that_was_killed_is_no_hub_and_goes_on_with_the_same_file(tmp_path: Path) -> None:
    """The file comes through a pipe that stops in its middle, so that the kill comes while it waits for more."""
    past, target = Past(tmp_path / "past", tmp_path / "log.ndjson", tmp_path / "other.ndjson"), tmp_path / "target"
    await keys(past.data_dir, 1200)
    await exported(past, past.ndjson)
    await keys(tmp_path / "other", 3)
    await exported(Past(tmp_path / "other", past.ndjson, past.ndjson), past.cloudevents)
    give_key(past, target)
    await kill_amid_import(target, past.ndjson.read_bytes().splitlines(keepends=True)[:1100], 1000)
    refused = await runcast("up", "--port", "0", "--data-dir", target)
    assert refused.code == 1
    assert "import was not finished" in refused.err
    with pytest.raises(ImportFailed, match="not what was imported before"):
        await imported(past.cloudevents, target)
    await imported(past.ndjson, target)
    for name in ("events", *FOLDED, "organizations"):
        assert table(target, name) == table(past.data_dir, name), name
    assert "importing" not in meta(target)


async def keys(data_dir: Path, count: int) -> None:
    clock = SystemClock()
    async with opened_store(Settings(data_dir=data_dir), clock) as (store, key):
        owner = await organization_named(store, clock, key, "default")
        made = (
            create_key(store, clock, key, owner.id, Metadata(), name="n", key=new_key(), role="admin")
            for _ in range(count)
        )
        await asyncio.gather(*made)


async def kill_amid_import(target: Path, lines: list[bytes], written: int) -> None:
    """Kills an import that got these lines and not yet the end, once it has written so many."""
    process = await asyncio.create_subprocess_exec(
        *(*COMMAND, "events", "import", "--data-dir", str(target)),
        env=environment(),
        stdin=asyncio.subprocess.PIPE,
    )
    try:
        assert process.stdin is not None
        process.stdin.write(b"".join(lines))
        await process.stdin.drain()

        async def is_written() -> bool:
            return (target / "runcast.db").exists() and count(target, "events") == written

        await until(is_written)
    finally:
        await end(process)
