"""Templates through the doors: the shipped ones and an organization's own, filled in, rated, counted, kept apart."""

from __future__ import annotations

import copy
from typing import Any

import pytest

from executor.components.registry import Registry
from executor.definitions.filling import given_problems, sample
from executor.definitions.validate import examine
from executor.domain.values import is_ulid
from hub.catalog import check
from hub.templates import shipped
from tests.integration.hubs import Client, Hub, unique
from tests.integration.receiving import receiving
from tests.integration.test_rest_forms import serving

pytestmark = pytest.mark.asyncio(loop_scope="session")

OWN: dict[str, Any] = {
    "description": "Greets somebody.",
    "category": "examples",
    "tags": ["greeting", "text"],
    "complexity_level": "expert",
    "parameters": [
        {
            "name": "greeting",
            "display_name": "Greeting",
            "required": True,
            "validation_rules": {"min_length": 2, "max_length": 20},
            "input_type": "text",
            "placeholder": "Hello",
            "help_text": "What to say.",
        },
        {"name": "limit", "parameter_type": "integer", "default_value": 3, "validation_rules": {"min": 1, "max": 9}},
        {"name": "tone", "options": ["kind", "plain"], "default_value": "plain"},
        {"name": "note"},
    ],
    "workflow_definition": {
        "components": [
            {"id": "start", "type": "start"},
            {
                "id": "few",
                "type": "condition",
                "config": {"expression": "input.count <= {{limit}} && {{tone}} != ''"},
            },
            {
                "id": "end",
                "type": "end",
                "config": {
                    "output": {
                        "text": "{{greeting}}, {{name}}! ({{tone}}) $${x}",
                        "limit": "{{limit}}",
                        "note": "{{note}}",
                        "few": "${few.output.result}",
                    }
                },
            },
        ],
        "connections": [{"source": "start", "target": "few"}, {"source": "few", "target": "end"}],
        "parameters": [{"name": "name", "type": "string"}, {"name": "count", "type": "integer"}],
    },
}


def own(**fields: Any) -> dict[str, Any]:
    return copy.deepcopy(OWN) | {"name": unique("template")} | fields


async def added(client: Client, **fields: Any) -> dict[str, Any]:
    answer = await client.post("/templates", own(**fields))
    assert answer.status == 201, answer.body
    created: dict[str, Any] = answer.data
    return created


async def test_what_is_shipped_is_whole() -> None:
    assert len(shipped()) == 6
    assert len({each.template.name for each in shipped().values()}) == 6
    for id, each in shipped().items():
        assert is_ulid(id)
        check(each.template, Registry())
        report = examine(sample(each.template), Registry())[1]
        assert {warning.code for warning in report.warnings} <= {"UNUSED_PARAMETER"}, (each.template.name, report)
        assert each.template.description
        assert each.template.category
        assert all(parameter.display_name for parameter in each.template.parameters)


async def test_a_template_is_kept_whole_and_shown(admin: Client) -> None:
    body = own()
    created = (await admin.post("/templates", body)).data
    assert created == created | {name: value for name, value in body.items() if name != "parameters"}
    assert created["parameters"][0] == body["parameters"][0]
    assert (created["usage_count"], created["rating"], created["rating_count"]) == (0, 0, 0)
    assert (created["version"], created["is_shipped"], created["author"]) == ("1.0.0", False, None)
    assert created["created_by"] == (await admin.get("/me")).data["id"]
    assert (await admin.get(f"/templates/{created['id']}")).data == created
    assert (await admin.post("/templates", body)).fields == ["name"]


async def test_a_workflow_is_made_of_it_and_runs(admin: Client) -> None:
    template = await added(admin)
    made = await admin.post(
        f"/templates/{template['id']}/create-workflow",
        {"name": unique("made"), "parameters": {"greeting": 'Hi "{{name}}"', "tone": "kind"}},
    )
    assert made.status == 201, made.body
    workflow = made.data
    assert (workflow["description"], workflow["category"], workflow["tags"]) == (
        "Greets somebody.",
        "examples",
        ["greeting", "text"],
    )
    few, end = workflow["definition"]["components"][1:]
    assert few["config"] == {"expression": "input.count <= 3 && \"kind\" != ''"}
    assert end["config"]["output"] == {
        "text": 'Hi "{{name}}", {{name}}! (kind) $${x}',
        "limit": 3,
        "few": "${few.output.result}",
    }
    run = await admin.ended(await admin.execution(workflow["id"], parameters={"name": "Ada", "count": 2}))
    assert run["results"] == {"text": 'Hi "Ada", Ada! (kind) ${x}', "limit": 3, "few": True}
    shown = (await admin.get(f"/templates/{template['id']}")).data
    assert shown["usage_count"] == 1


async def test_without_a_name_the_template_s_is_taken_once(admin: Client) -> None:
    template = await added(admin)
    path = f"/templates/{template['id']}/create-workflow"
    assert (await admin.post(path, {"parameters": {"greeting": "Hi"}})).data["name"] == template["name"]
    again = await admin.post(path, {"parameters": {"greeting": "Hi"}, "tags": [], "description": None})
    assert (again.status, again.fields) == (409, ["name"])


async def test_wrong_parameters_are_told_at_once_and_make_nothing(admin: Client) -> None:
    template = await added(admin)
    answer = await admin.post(
        f"/templates/{template['id']}/create-workflow",
        {"parameters": {"greeting": "x", "limit": 10, "tone": "rude", "colour": "red", "note": 7}},
    )
    assert (answer.status, answer.codes) == (422, {"VALIDATION_ERROR"})
    names = ("colour", "greeting", "limit", "note", "tone")
    assert answer.fields == [f"parameters.{name}" for name in names]
    missing = await admin.post(f"/templates/{template['id']}/create-workflow", {"parameters": {"greeting": None}})
    assert missing.fields == ["parameters.greeting"]
    assert (await admin.get("/workflows")).metadata["total_count"] == 0


async def test_a_value_that_makes_no_workflow_is_blamed_on_its_parameter(admin: Client) -> None:
    definition = {
        "components": [
            {"id": "start", "type": "start"},
            {"id": "say", "type": "log", "config": {"message": "hi", "level": "{{level}}"}},
            {"id": "sum", "type": "transform", "config": {"expression": "{{sum}}"}},
        ],
        "connections": [{"source": "start", "target": "say"}, {"source": "say", "target": "sum"}],
    }
    parameters = [{"name": "level"}, {"name": "sum", "parameter_type": "expression"}]
    template = await added(admin, workflow_definition=definition, parameters=parameters)
    path = f"/templates/{template['id']}/create-workflow"
    wrong = await admin.post(path, {"parameters": {"level": "loud", "sum": "1 +"}})
    assert (wrong.status, wrong.fields, wrong.codes) == (
        422,
        ["parameters.level", "parameters.sum"],
        {"WORKFLOW_INVALID"},
    )
    right = await admin.post(path, {"parameters": {"level": "info", "sum": "1 + 1"}})
    assert right.data["definition"]["components"][2]["config"] == {"expression": "1 + 1"}


@pytest.mark.parametrize(
    ("fields", "wrong"),
    [
        ({"parameters": [{"name": "name"}]}, ["parameters[0].name"]),
        ({"parameters": [{"name": "a"}, {"name": "a"}]}, ["parameters[1].name"]),
        (
            {"parameters": [{"name": "a", "validation_rules": {"pattern": "("}}]},
            ["parameters[0].validation_rules.pattern"],
        ),
        (
            {"parameters": [{"name": "a", "parameter_type": "integer", "default_value": "x"}]},
            ["parameters[0].default_value"],
        ),
        ({"parameters": [{"name": "a", "options": ["x"], "default_value": "y"}]}, ["parameters[0].default_value"]),
        ({"parameters": [{"name": "a", "parameter_type": "date"}]}, ["parameters[0].parameter_type"]),
        (
            {"parameters": []},
            [
                "workflow_definition.components[1].config.expression",
                *["workflow_definition.components[2].config.output.limit"],
            ],
        ),
        ({"workflow_definition": {"blocks": [{"id": "a", "type": "x"}]}}, ["workflow_definition.blocks[0].type"]),
        ({"workflow_definition": {}}, ["workflow_definition.components"]),
        ({"complexity_level": "hard", "name": ""}, ["complexity_level", "name"]),
        (
            {"name": 7, "parameters": [{"name": "name"}]},
            ["name", "parameters[0].name"],
        ),
        (
            {"workflow_definition": {"components": [{"id": "s", "type": "start", "name": "x" * 300_000}]}},
            ["workflow_definition"],
        ),
    ],
)
async def test_a_template_that_could_make_no_workflow_is_refused(
    admin: Client, fields: dict[str, Any], wrong: list[str]
) -> None:
    answer = await admin.post("/templates", own(**fields))
    assert answer.status == 422
    assert set(wrong) <= set(answer.fields)


async def test_a_template_may_hold_any_written_form(admin: Client) -> None:
    blocks = {"blocks": [{"id": "rest", "type": "wait", "parameters": {"until": "{{until}}"}}]}
    template = await added(admin, workflow_definition=blocks, parameters=[{"name": "until", "required": True}])
    made = await admin.post(
        f"/templates/{template['id']}/create-workflow", {"parameters": {"until": "2026-01-01T00:00:00Z"}}
    )
    assert made.data["definition"]["blocks"][0]["parameters"] == {"until": "2026-01-01T00:00:00Z"}


async def test_templates_are_found_and_sorted(admin: Client) -> None:
    first = await added(admin, name="AAA first", category="mine")
    second = await added(admin, name="zzz second", category="mine", tags=["other"])
    every = (await admin.get("/templates")).data
    assert [each["id"] for each in every[:2]] == [second["id"], first["id"]]
    assert {each["id"] for each in every[2:]} == set(shipped())
    assert "workflow_definition" not in every[0]

    async def found(**query: Any) -> list[str]:
        return [each["name"] for each in (await admin.get("/templates", **query)).data]

    assert await found(category="mine", sort="name") == ["AAA first", "zzz second"]
    assert await found(tags="other") == ["zzz second"]
    assert await found(search="SECOND") == ["zzz second"]
    assert await found(complexity="expert", sort="name", order="desc") == ["zzz second", "AAA first"]
    await admin.post(f"/templates/{first['id']}/rate", {"rating": 4})
    await admin.post(f"/templates/{second['id']}/create-workflow", {"parameters": {"greeting": "Hi"}})
    assert (await found(sort="rating"))[0] == "AAA first"
    assert (await found(sort="usage_count"))[0] == "zzz second"
    assert (await admin.get("/templates", complexity="hard")).fields == ["complexity"]


async def test_ratings_are_one_a_caller_and_their_mean_is_shown(hub: Hub, admin: Client) -> None:
    key = (await admin.post("/auth/api-keys", {"name": "k", "role": "read_write"})).data["api_key"]
    other = Client(admin.url, admin.http, key, admin.organization_id)
    for template in ((await added(admin))["id"], next(iter(shipped()))):
        path = f"/templates/{template}"
        assert (await admin.post(f"{path}/rate", {"rating": 1})).data["rating"] == 1
        await admin.post(f"{path}/rate", {"rating": 5})
        rated = (await other.post(f"{path}/rate", {"rating": 4})).data
        assert (rated["rating"], rated["rating_count"]) == (4.5, 2)
        before = len(await admin.events(types="template.*"))
        assert (await other.post(f"{path}/rate", {"rating": 4})).data["rating_count"] == 2
        assert len(await admin.events(types="template.*")) == before
        for wrong in ({}, {"rating": 0}, {"rating": 6}, {"rating": 2.5}, {"rating": "5"}):
            assert (await admin.post(f"{path}/rate", wrong)).fields == ["rating"]
    stranger = await hub.client()
    seen = (await stranger.get(f"/templates/{next(iter(shipped()))}")).data
    assert (seen["rating"], seen["rating_count"], seen["usage_count"]) == (0, 0, 0)


async def test_deleting_takes_an_own_template_and_leaves_its_workflows(admin: Client) -> None:
    template = await added(admin)
    path = f"/templates/{template['id']}"
    made = (await admin.post(f"{path}/create-workflow", {"parameters": {"greeting": "Hi"}})).data
    assert (await admin.delete(path)).status == 200
    for gone in (await admin.get(path), await admin.delete(path), await admin.post(f"{path}/rate", {"rating": 3})):
        assert (gone.status, gone.codes) == (404, {"RESOURCE_NOT_FOUND"})
    assert (await admin.get(f"/workflows/{made['id']}")).status == 200
    assert (await added(admin, name=template["name"]))["id"] != template["id"]
    assert (await admin.delete(f"/templates/{next(iter(shipped()))}")).status == 409


async def test_making_a_workflow_needs_both_permissions(hub: Hub, admin: Client) -> None:
    template = next(iter(shipped()))
    for permissions, missing in ((("template.read",), "workflow.write"), (("workflow.write",), "template.read")):
        client = await hub.client(permissions=permissions)
        answer = await client.post(f"/templates/{template}/create-workflow", {})
        assert answer.status == 403
        assert missing in answer.errors[0]["message"]


async def test_a_shipped_template_does_what_it_says(admin: Client) -> None:
    by_name = {each.template.name: id for id, each in shipped().items()}
    async with receiving() as receiver, serving("<b class=price>9 €</b>") as page:
        given = {"page_url": page, "selector": ".price", "notify_url": receiver.url}
        path = f"/templates/{by_name['Read a value from a page']}/create-workflow"
        made = await admin.post(path, {"name": unique("page"), "parameters": given})
        assert made.status == 201, made.body
        run = await admin.ended(await admin.execution(made.data["id"]))
        assert run["results"] == {"value": "9 €", "told": True}
        down = {"site_url": f"{page}nowhere", "alert_url": receiver.url, "attempts": 1}
        made = await admin.post(
            f"/templates/{by_name['Watch a site']}/create-workflow", {"name": unique("site"), "parameters": down}
        )
        run = await admin.ended(await admin.execution(made.data["id"]))
        assert run["results"] == {"up": False}
    shown = (await admin.get(f"/templates/{by_name['Watch a site']}")).data
    assert shown["usage_count"] == 1


async def test_values_are_checked_by_type_and_pattern() -> None:
    template = next(each.template for each in shipped().values() if each.template.name == "Watch a site")
    problems = given_problems(template.parameters, {"site_url": "ftp://x", "alert_url": "https://x", "attempts": 2.5})
    assert [problem.field for problem in problems] == ["parameters.site_url", "parameters.attempts"]
