from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from executor.domain.references import (
    MOST_BYTES,
    BadReference,
    Reference,
    Root,
    TooLarge,
    find,
    holds_reference,
    resolve,
    walk,
)

TREE = {
    "x": {"y": [1, {"z": "deep"}], "null": None, "text": "a", "größe": 3, "content-type": "t", "0": "zero"},
    "n": 2.5,
    "yes": True,
}


def lookup(reference: Reference) -> Any:
    match reference.root:
        case Root.EXECUTION:
            return f"execution.{reference.name}"
        case Root.COMPONENT:
            return walk({"step": TREE}.get(reference.name), reference.path)
    return walk(TREE.get(reference.name) if reference.name else TREE, reference.path)


def parsed(text: str) -> Reference | BadReference:
    ((_, reference),) = find(text, "config")
    return reference


@pytest.mark.parametrize(
    ("text", "root", "name", "path"),
    [
        ("{{x}}", Root.PARAMETER, "x", ()),
        ("{{ x.y[0] }}", Root.PARAMETER, "x", ("y", "0")),
        ("${workflow.input.x}", Root.INPUT, "x", ()),
        ("${workflow.input}", Root.INPUT, "", ()),
        ("${ workflow.input.x.y }", Root.INPUT, "x", ("y",)),
        ("${step.output}", Root.COMPONENT, "step", ()),
        ("${step-1_a.output.y[10].z}", Root.COMPONENT, "step-1_a", ("y", "10", "z")),
        ("${workflow.output.x}", Root.COMPONENT, "workflow", ("x",)),
        ("${x}", Root.VARIABLE, "x", ()),
        ("${item.a[0]}", Root.VARIABLE, "item", ("a", "0")),
        ("${execution.id}", Root.EXECUTION, "id", ()),
        ("${execution.output.x}", Root.COMPONENT, "execution", ("x",)),
        ("${step.output.größe}", Root.COMPONENT, "step", ("größe",)),
        ("${step.output.名前}", Root.COMPONENT, "step", ("名前",)),
    ],
)
def test_a_reference_is_a_path_from_a_root(text: str, root: Root, name: str, path: tuple[str, ...]) -> None:
    assert parsed(text) == Reference(text, root, name, path)


@pytest.mark.parametrize(
    "text",
    [
        "${}",
        "${ }",
        "{{}}",
        "${step..output}",
        "${.step.output}",
        "${step.output.}",
        "${step.output[x]}",
        "${step.output[-1]}",
        "${step.output[1}",
        "${step.output['a']}",
        "${1 + 1}",
        "{{x + 1}}",
        "{{a b}}",
        "${workflow}",
        "${execution}",
        "${execution.a.b}",
        "${step.output[12345678901]}",
        "${step.output[٣]}",
    ],
)
def test_what_is_no_path_is_a_bad_reference_that_says_why(text: str) -> None:
    bad = parsed(text)
    assert isinstance(bad, BadReference)
    assert bad.text == text
    assert bad.why


@pytest.mark.parametrize(
    "text", ["", "$", "${", "{{x", "$ {x}", "{x}", "${x{y}}", "$${x}", "$${workflow.input.x}", "}}{{"]
)
def test_what_looks_like_none_is_none(text: str) -> None:
    assert list(find(text, "config")) == []
    assert not holds_reference(text)


def test_all_references_are_found_with_the_path_of_their_text() -> None:
    config = {"a": "{{x}} and ${s.output.y}", "b": [1, {"c": "{{z}}"}], "${no.output.key}": None}
    assert [(field, reference.text) for field, reference in find(config, "config")] == [
        ("config.a", "{{x}}"),
        ("config.a", "${s.output.y}"),
        ("config.b[1].c", "{{z}}"),
    ]


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("${step.output.x.y}", [1, {"z": "deep"}]),
        ("${step.output.x.y[1].z}", "deep"),
        ("${step.output.x.y.1.z}", "deep"),
        ("${step.output.n}", 2.5),
        ("{{yes}}", True),
        ("${workflow.input}", TREE),
        ("${execution.id}", "execution.id"),
        ("${step.output.x.größe}", 3),
        ("${step.output.x.content-type}", "t"),
        ("${step.output.x[0]}", "zero"),
    ],
)
def test_a_text_that_is_one_reference_takes_its_value_with_its_type(text: str, value: object) -> None:
    assert resolve(text, lookup) == value


@pytest.mark.parametrize(
    "text",
    [
        "${nobody.output.x}",
        "${step.output.nope}",
        "${step.output.nope.nope}",
        "${step.output.n.x}",
        "${step.output.x.y[2]}",
        "${step.output.x.y[999999999]}",
        "${step.output.x.y.z}",
        "${step.output.x.text[0]}",
        "${step.output.x.null.z}",
        "${workflow.input.nope}",
        "${step.output.x.y." + "9" * 5000 + "}",
        "${step.output.x.y.²}",
        "${step.output.x.y.٣}",
    ],
)
def test_a_path_that_leads_nowhere_is_null(text: str) -> None:
    assert resolve(text, lookup) is None


@pytest.mark.parametrize(
    ("text", "written"),
    [
        ("is {{n}}!", "is 2.5!"),
        ("{{n}}{{yes}}", "2.5true"),
        (" {{n}}", " 2.5"),
        ("y: ${step.output.x.y}", 'y: [1,{"z":"deep"}]'),
        ("null: <${step.output.nope}>", "null: <>"),
        ("$${n} {{n}}", "${n} 2.5"),
        ("$${", "${"),
        ("$${workflow.input.n}", "${workflow.input.n}"),
        ("$$${workflow.input.n}", "$${workflow.input.n}"),
        ("costs $5 {and} ${1 + 1}", "costs $5 {and} ${1 + 1}"),
        ("größe ${step.output.x.größe} 😀", "größe 3 😀"),
        ("nul \0 {{n}}", "nul \0 2.5"),
    ],
)
def test_inside_a_longer_text_values_are_written_out(text: str, written: str) -> None:
    assert resolve(text, lookup) == written


def test_references_in_values_are_resolved_and_those_in_keys_are_not() -> None:
    config = {"{{n}}": ["{{n}}", {"a": "{{yes}}"}], "b": 1, "c": None}
    assert resolve(config, lookup) == {"{{n}}": [2.5, {"a": True}], "b": 1, "c": None}


def test_a_bad_reference_alone_stays_as_it_is() -> None:
    assert resolve("${1 + 1}", lookup) == "${1 + 1}"


def test_what_is_resolved_is_not_resolved_again() -> None:
    def answers_a_reference(reference: Reference) -> str:
        return "${workflow.input.secret}"

    assert resolve("{{x}}", answers_a_reference) == "${workflow.input.secret}"
    assert resolve("<{{x}}>", answers_a_reference) == "<${workflow.input.secret}>"


def test_the_config_itself_does_not_change() -> None:
    config = {"a": ["{{n}}"]}
    resolve(config, lookup)
    assert config == {"a": ["{{n}}"]}


@given(st.text(alphabet="${}[].ax0 \0é", max_size=60))
def test_no_text_breaks_the_parser_and_what_holds_no_reference_changes_only_its_escapes(text: str) -> None:
    resolved = resolve(text, lambda reference: None)
    if not holds_reference(text):
        assert resolved == text.replace("$${", "${")


def test_a_megabyte_of_openings_is_read_once() -> None:
    for piece in ("${", "{{", "$${", "${a.output", "{{a}"):
        resolve(piece * (2**20 // len(piece)), lambda reference: None)


@pytest.mark.parametrize(
    "config", ["{{big}}" * 20, ["{{big}}"] * 20, {"a": ["x {{big}}"] * 20}, ["${big.output}"] * 20]
)
def test_references_come_to_no_more_than_there_is_room_for(config: Any) -> None:
    big = "x" * (MOST_BYTES // 19)
    for value in (big, [big]):
        with pytest.raises(TooLarge):
            resolve(config, lambda reference, value=value: value)
    assert resolve({"a": "{{n}}"}, lambda reference: big) == {"a": big}
