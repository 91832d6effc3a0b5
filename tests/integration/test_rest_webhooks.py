from __future__ import annotations

from typing import Any

import pytest

from tests.integration.hubs import Client

pytestmark = pytest.mark.asyncio(loop_scope="session")

URL = "http://127.0.0.1:2/hook"
"""Where nobody listens: no test waits for a name server."""
OAUTH2 = {"type": "oauth2", "token_url": "http://127.0.0.1:2/token", "client_id": "me", "client_secret": "s"}
SHOWN = {
    *("id", "url", "events", "description", "active", "filters", "authentication", "headers", "timeout_seconds"),
    *("retry_policy", "max_in_flight", "ordered", "signing", "created_by", "created_at", "updated_at"),
    *(
        "disabled_reason",
        "rate_limit_per_second",
        "metadata",
        "public_key",
        "jwks_url",
        "retired_secrets",
        "callback",
    ),
}


async def test_create_answers_201_with_a_secret_that_is_shown_this_once(admin: Client) -> None:
    created = await admin.post("/webhooks", {"url": URL, "events": ["execution.*"]})
    assert created.status == 201
    assert set(created.data) == SHOWN | {"secret"}
    assert created.data["secret"].startswith("whsec_")
    assert created.data["active"] is True
    assert created.data["retry_policy"] == {
        "max_attempts": 12,
        "initial_delay_seconds": 5.0,
        "max_delay_seconds": 36000.0,
        "backoff_multiplier": 3.0,
    }
    path = f"/webhooks/{created.data['id']}"
    for shown in (
        (await admin.get(path)).data,
        (await admin.get("/webhooks")).data[0],
        (await admin.put(path, {"description": "x"})).data,
        (await admin.put(path, {"secret": "another secret of ours"})).data,
        (await admin.post(f"{path}/enable")).data,
    ):
        assert set(shown) == SHOWN


async def test_a_given_secret_is_kept(admin: Client) -> None:
    body = {"url": URL, "events": ["*"], "secret": "your-webhook-secret"}
    assert (await admin.post("/webhooks", body)).data["secret"] == "your-webhook-secret"


async def test_the_whole_resource_comes_back_as_it_was_given(admin: Client) -> None:
    body = {
        "url": URL,
        "events": ["workflow.created", "*.failed"],
        "description": "billing",
        "active": False,
        "filters": {
            "workflow_ids": ["a"],
            "project_ids": ["b"],
            "priority_levels": ["high", 1],
            "condition": "data.execution.priority > 5",
        },
        "timeout_seconds": 3,
        "retry_policy": {"max_attempts": 3, "initial_delay_seconds": 60},
        "max_in_flight": 2,
        "ordered": True,
        "signing": "hmac",
        "rate_limit_per_second": 2.5,
        "metadata": {"team": "billing", "on_call": {"phone": [1, 2]}},
    }
    created = await admin.post("/webhooks", body)
    assert created.status == 201
    data = created.data
    assert data["filters"] == body["filters"] | {"priority_levels": [8, 1]}  # type: ignore[operator]
    for name in body.keys() - {"filters", "retry_policy"}:
        assert data[name] == body[name]
    assert data["retry_policy"]["max_attempts"] == 3
    assert data["retry_policy"]["max_delay_seconds"] == 36_000
    stored = (await admin.get(f"/webhooks/{data['id']}")).data
    assert stored == {name: value for name, value in data.items() if name != "secret"}


async def test_redacted_keeps_what_is_stored_and_nothing_stored_is_a_422(admin: Client) -> None:
    webhook = await admin.webhook(
        URL, authentication={"type": "bearer", "token": "t0ken"}, headers={"X-Tenant": "ten4nt"}, secret="s3cret"
    )
    path = f"/webhooks/{webhook['id']}"
    shown = (await admin.get(path)).data
    assert shown["authentication"] == {"type": "bearer", "token": "[REDACTED]"}
    assert shown["headers"] == {"X-Tenant": "[REDACTED]"}
    sendable = {name: shown[name] for name in shown if name not in _OURS}
    again = await admin.put(path, sendable | {"secret": "[REDACTED]"})
    assert again.status == 200
    assert again.data["updated_at"] == shown["updated_at"], "what was shown, sent back, is no change"
    for body, field in (
        ({"headers": {"X-Other": "[REDACTED]"}}, "headers.X-Other"),
        ({"authentication": {"type": "basic", "username": "u", "password": "[REDACTED]"}}, "authentication.password"),
    ):
        answer = await admin.put(path, body)
        assert (answer.status, answer.fields) == (422, [field])
    for body, field in (
        ({"secret": "[REDACTED]"}, "secret"),
        ({"headers": {"X-A": "[REDACTED]"}}, "headers.X-A"),
        ({"authentication": {"type": "bearer", "token": "[REDACTED]"}}, "authentication.token"),
    ):
        answer = await admin.post("/webhooks", {"url": URL, "events": ["*"]} | body)
        assert (answer.status, answer.fields) == (422, [field])


_OURS = {
    *("id", "created_by", "created_at", "updated_at", "disabled_reason"),
    *("public_key", "jwks_url", "retired_secrets", "callback"),
}


async def test_put_merges_fields_and_keeps_the_rest(admin: Client) -> None:
    before = await admin.webhook(URL, "workflow.*", description="old", headers={"X-A": "1"})
    path = f"/webhooks/{before['id']}"
    after = (await admin.put(path, {"description": "new", "headers": {}})).data
    assert (after["description"], after["headers"]) == ("new", {})
    assert (after["url"], after["events"]) == (URL, ["workflow.*"])
    assert (await admin.put(path, {})).data == after


@pytest.mark.parametrize(
    ("body", "field"),
    [
        ({"url": "ftp://example.com"}, "url"),
        ({"url": "https://user:pw@example.com"}, "url"),
        ({"url": "http://10.0.0.1/"}, "url"),
        ({"url": "http://169.254.169.254/latest"}, "url"),
        ({"url": "http://[::ffff:10.0.0.1]/"}, "url"),
        ({"url": "nonsense"}, "url"),
        ({"events": ["execution.done"]}, "events[0]"),
        ({"events": []}, "events"),
        ({"events": ["*", "x"]}, "events[1]"),
        ({"secret": "whsec_short"}, "secret"),
        ({"filters": {"condition": "1 +"}}, "filters.condition"),
        ({"filters": {"priority_levels": [11]}}, "filters.priority_levels[0]"),
        ({"authentication": {"type": "bearer"}}, "authentication.token"),
        ({"authentication": OAUTH2 | {"token_url": "http://10.0.0.1/"}}, "authentication.token_url"),
        ({"authentication": OAUTH2 | {"client_auth": "mtls"}}, "authentication.client_auth"),
        ({"headers": {"Host": "x"}}, "headers.Host"),
        ({"headers": {"X-A": "a\nb"}}, "headers.X-A"),
        ({"timeout_seconds": 0}, "timeout_seconds"),
        ({"retry_policy": {"max_attempts": 0}}, "retry_policy.max_attempts"),
        ({"max_in_flight": 0}, "max_in_flight"),
        ({"rate_limit_per_second": 0}, "rate_limit_per_second"),
        ({"signing": "rsa"}, "signing"),
        ({"signing": "ed25519", "secret": "text"}, "secret"),
        ({"secret": "whsk_text"}, "secret"),
        ({"metadata": {"x": "y" * 16_384}}, "metadata"),
        ({"colour": "red"}, "colour"),
    ],
)
async def test_what_is_wrong_is_named_at_creation_and_at_a_change(
    admin: Client, body: dict[str, Any], field: str
) -> None:
    created = await admin.post("/webhooks", {"url": URL, "events": ["*"]} | body)
    assert (created.status, created.fields) == (422, [field])
    webhook = await admin.webhook(URL)
    changed = await admin.put(f"/webhooks/{webhook['id']}", body)
    assert (changed.status, changed.fields) == (422, [field])
    types = [event["type"] for event in await admin.events(types="webhook.*")]
    assert types == ["webhook.created"]


async def test_a_value_of_several_forms_is_refused_with_what_would_be_right(admin: Client) -> None:
    levels = await admin.post("/webhooks", {"url": URL, "events": ["*"], "filters": {"priority_levels": ["soon"]}})
    words = "must be 1 to 10, or low, medium, normal, high, critical or urgent"
    assert levels.json["message"] == f"filters.priority_levels[0]: {words}"
    webhook = await admin.webhook(URL)
    status = await admin.post(f"/webhooks/{webhook['id']}/cancel", {"status": "in_flight"})
    assert status.json["message"] == "status: must be pending or retrying, or a list of these: what waits"


async def test_everything_that_is_wrong_is_said_at_once(admin: Client) -> None:
    answer = await admin.post(
        "/webhooks",
        {"url": "http://10.0.0.1", "events": ["x"], "secret": "whsec_x", "headers": {"Host": "a", "X": "\r"}},
    )
    assert answer.fields == ["events[0]", "headers.Host", "headers.X", "secret", "url"]


async def test_delete_is_a_200_with_null_and_a_404_the_second_time(admin: Client) -> None:
    webhook = await admin.webhook(URL)
    path = f"/webhooks/{webhook['id']}"
    answer = await admin.delete(path)
    assert (answer.status, answer.data) == (200, None)
    for refused in (
        await admin.delete(path),
        await admin.get(path),
        await admin.put(path, {}),
        await admin.post(f"{path}/test"),
        await admin.post(f"{path}/enable"),
        await admin.post(f"{path}/disable"),
        await admin.post(f"{path}/rotate-secret"),
        await admin.get(f"{path}/deliveries"),
    ):
        assert (refused.status, refused.codes) == (404, {"RESOURCE_NOT_FOUND"})
    assert (await admin.get("/webhooks")).data == []


async def test_list_filters_by_active(admin: Client) -> None:
    on, off = await admin.webhook(URL), await admin.webhook(URL, active=False)
    assert [each["id"] for each in (await admin.get("/webhooks")).data] == [off["id"], on["id"]]
    assert [each["id"] for each in (await admin.get("/webhooks", active="true")).data] == [on["id"]]
    assert [each["id"] for each in (await admin.get("/webhooks", active="false")).data] == [off["id"]]
    assert (await admin.get("/webhooks", active="maybe")).fields == ["active"]


async def test_enable_switches_on_and_an_inactive_one_cannot_be_tested(admin: Client) -> None:
    webhook = await admin.webhook(URL, active=False)
    path = f"/webhooks/{webhook['id']}"
    refused = await admin.post(f"{path}/test")
    assert (refused.status, refused.codes) == (409, {"RESOURCE_CONFLICT"})
    assert (await admin.post(f"{path}/enable")).data["active"] is True
    assert (await admin.post(f"{path}/enable")).status == 200
    for _ in range(2):
        disabled = await admin.post(f"{path}/disable")
        assert (disabled.status, disabled.data["active"], disabled.data["disabled_reason"]) == (200, False, None)


async def test_an_organization_has_no_more_webhooks_than_fit(admin: Client, monkeypatch: pytest.MonkeyPatch) -> None:
    """Those of its runs are among them: a URL of its own for each run would be endless."""
    listed = await admin.get("/webhooks")
    monkeypatch.setattr("webhooks.commands.MOST_WEBHOOKS", listed.metadata["total_count"] + 1)
    last = await admin.post("/webhooks", {"url": URL, "events": ["*"]})
    assert last.status == 201
    one_more = await admin.post("/webhooks", {"url": URL, "events": ["*"]})
    assert (one_more.status, one_more.codes) == (409, {"RESOURCE_CONFLICT"})
    await admin.delete(f"/webhooks/{last.data['id']}")
    again = await admin.post("/webhooks", {"url": URL, "events": ["*"]})
    assert again.status == 201
