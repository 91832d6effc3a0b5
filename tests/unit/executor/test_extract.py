"""Values out of pages: what selectors find, and that no page and no selector holds up the hub."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from executor.components.base import ComponentError
from executor.components.registry import Registry
from executor.definitions.validate import examine
from executor.extraction import extract
from tests.unit.executor.test_components import run

PAGE = """<!doctype html><html><head><title>Shop</title></head><body>
<div class="item"><a href="/1">One  <b>new</b></a><span class="price">1 €</span></div>
<div class="item"><a href="/2">Two</a></div></body></html>"""


@pytest.mark.parametrize(
    ("wanted", "found"),
    [
        ("title", "Shop"),
        (".item a", "One new"),
        (".price", "1 €"),
        ("h1", None),
        ({"selector": ".item a", "all": True}, ["One new", "Two"]),
        ({"selector": ".item a", "attribute": "href", "all": True}, ["/1", "/2"]),
        ({"selector": ".item a", "attribute": "href"}, "/1"),
        ({"selector": ".item a", "attribute": "id"}, None),
        ({"selector": "h1", "all": True}, []),
    ],
)
def test_a_selector_finds_texts_and_attributes(wanted: Any, found: Any) -> None:
    assert extract(PAGE, {"x": wanted}) == {"x": found}


@pytest.mark.parametrize("page", ["", "  \n", "just text", "<", "\0<p>x", "<!-- -->", "<p>" * 5000])
def test_any_text_is_a_page(page: str) -> None:
    assert extract(page, {"none": "h1", "all": {"selector": "h2", "all": True}}) == {"none": None, "all": []}


async def test_the_component_answers_from_a_process_of_its_own() -> None:
    output = await run(
        "extract", {"html": PAGE, "selectors": {"title": "title", "links": {"selector": "a", "all": True}}}
    )
    assert output.value == {"title": "Shop", "links": ["One new", "Two"]}


async def test_a_page_that_would_take_minutes_fails_and_the_loop_goes_on_meanwhile() -> None:
    page = "<div>" * 200 + "<p><b><i>x</i></b></p>" * 30_000
    turns = 0

    async def turn() -> None:
        nonlocal turns
        while True:
            await asyncio.sleep(0)
            turns += 1

    turning = asyncio.create_task(turn())
    with pytest.raises(ComponentError, match=r"too much time or memory|took longer"):
        await run("extract", {"html": page, "selectors": {"x": "* * * *"}})
    turning.cancel()
    assert turns > 100


@pytest.mark.parametrize("selector", ["a[[", "", ":nope", "a >", "p:contains("])
async def test_a_wrong_selector_is_refused_when_it_is_written_and_when_it_runs(selector: str) -> None:
    config = {"html": "x", "selectors": {"x": selector, "y": {"selector": selector}}}
    raw = {
        "components": [{"id": "s", "type": "start"}, {"id": "e", "type": "extract", "config": config}],
        "connections": [{"source": "s", "target": "e"}],
    }
    fields = {each.field for each in examine(raw, Registry())[1].errors}
    assert {field and field.removesuffix(".selector") for field in fields} == {
        "definition.components[1].config.selectors.x",
        "definition.components[1].config.selectors.y",
    }
    with pytest.raises(ComponentError, match=r"selectors\.x: the selector is wrong"):
        await run("extract", config, check=False)
