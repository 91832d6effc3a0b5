from __future__ import annotations

import re
from typing import Any

import pytest

from executor.domain.values import plus
from hub.auth.permissions import PERMISSIONS, ROLES
from tests.integration.hubs import Client, Hub, until

pytestmark = pytest.mark.asyncio(loop_scope="session")

SHOWN = {
    *("id", "name", "description", "prefix", "role", "permissions", "expires_at", "created_by", "created_at"),
    "revoked_at",
}


def with_key(client: Client, key: str | None) -> Client:
    return Client(client.url, client.http, key)


async def test_create_shows_the_key_once(admin: Client) -> None:
    body = {
        "name": "My Integration",
        "description": "for automation",
        "expires_at": "2999-12-31T23:59:59Z",
        "permissions": ["workflow.read", "execution.*"],
    }
    answer = await admin.post("/auth/api-keys", body)
    assert answer.status == 201
    assert set(answer.data) == SHOWN | {"api_key"}
    key = answer.data["api_key"]
    assert re.fullmatch(r"sk_live_[A-Za-z0-9]{32}", key)
    assert key.startswith(answer.data["prefix"])
    assert answer.data["expires_at"] == "2999-12-31T23:59:59.000Z"
    listed = (await admin.get("/auth/api-keys")).data
    assert set(listed[0]) == SHOWN | {"last_used_at"}
    assert key.encode() not in (await admin.get("/auth/api-keys")).body
    assert key.encode() not in (await admin.get("/events")).body
    me = (await with_key(admin, key).get("/me")).data
    assert me["permissions"] == ["execution.read", "execution.write", "workflow.read"]
    assert me["expires_at"] == "2999-12-31T23:59:59.000Z"


async def test_me_says_who_asks(admin: Client, hub: Hub) -> None:
    me = (await admin.get("/me")).data
    assert set(me) == {"type", "id", "name", "organization", "role", "permissions", "expires_at"}
    assert (me["type"], me["role"], me["expires_at"]) == ("api_key", "admin", None)
    assert me["organization"]["id"] == admin.organization_id
    assert me["permissions"] == sorted(PERMISSIONS)
    for role in ("read_write", "read_only"):
        assert (await (await hub.client(role=role)).get("/me")).data["permissions"] == sorted(ROLES[role])


async def test_a_key_goes_in_either_header(admin: Client) -> None:
    nobody = with_key(admin, None)
    for headers in (
        {"X-API-Key": admin.key},
        {"Authorization": f"Bearer {admin.key}"},
        {"authorization": f"bearer   {admin.key} "},
    ):
        assert (await nobody.send("GET", "/me", headers=headers)).status == 200  # type: ignore[arg-type]


@pytest.mark.parametrize(
    "headers",
    [
        {},
        {"X-API-Key": ""},
        {"X-API-Key": "sk_live_" + "x" * 32},
        {"X-API-Key": "sk_test_" + "x" * 31},
        {"X-API-Key": "é"},
        {"X-API-Key": "x" * 5000},
        {"Authorization": "Bearer"},
        {"Authorization": "Bearer "},
        {"Authorization": "Basic dXNlcjpwdw=="},
        {"Authorization": "Bearer eyJhbGciOiJub25lIn0.e30."},
    ],
)
async def test_credentials_that_nobody_knows_are_a_401(hub: Hub, headers: dict[str, str]) -> None:
    answer = await hub.nobody.send("GET", "/me", headers=headers)
    assert (answer.status, answer.codes) == (401, {"AUTHENTICATION_ERROR"})
    assert answer.headers["WWW-Authenticate"].startswith("Bearer")
    assert not any(secret.encode() in answer.body for secret in headers.values() if len(secret) > 20)


async def test_a_revoked_key_ends_at_once_and_is_listed_no_more(admin: Client) -> None:
    created = (await admin.post("/auth/api-keys", {"name": "n", "role": "read_only"})).data
    client = with_key(admin, created["api_key"])
    assert (await client.get("/me")).status == 200
    path = f"/auth/api-keys/{created['id']}"
    answer = await admin.delete(path)
    assert (answer.status, answer.data) == (200, None)
    assert (await client.get("/me")).status == 401
    assert (await admin.delete(path)).status == 404
    assert created["id"] not in {each["id"] for each in (await admin.get("/auth/api-keys")).data}


async def test_a_key_may_revoke_itself(admin: Client) -> None:
    me = (await admin.get("/me")).data["id"]
    assert (await admin.delete(f"/auth/api-keys/{me}")).status == 200
    assert (await admin.get("/me")).status == 401


async def test_an_expired_key_is_a_401(hub: Hub, admin: Client) -> None:
    soon = plus(hub.services.clock.now(), 1.5)
    created = await admin.post("/auth/api-keys", {"name": "n", "role": "admin", "expires_at": soon})
    client = with_key(admin, created.data["api_key"])

    async def has_ended() -> bool:
        return (await client.get("/me")).status == 401

    await until(has_ended)
    assert hub.services.clock.now() >= soon


async def test_a_key_cannot_grant_what_it_lacks(hub: Hub) -> None:
    owner = await hub.client(permissions=("apikey.write", "workflow.*"))
    for body, field in (
        ({"role": "admin"}, "role"),
        ({"role": "read_only"}, "role"),
        ({"permissions": ["workflow.read", "event.read"]}, "permissions[1]"),
        ({"permissions": ["execution.*"]}, "permissions[0]"),
        ({"permissions": ["apikey.*"]}, "permissions[0]"),
    ):
        answer = await owner.post("/auth/api-keys", {"name": "n"} | body)
        assert (answer.status, answer.codes, answer.fields) == (403, {"AUTHORIZATION_ERROR"}, [field])
    assert (await owner.post("/auth/api-keys", {"name": "n", "permissions": ["workflow.*"]})).status == 201


async def test_a_key_cannot_revoke_one_that_may_do_more(hub: Hub, admin: Client) -> None:
    organization = (await admin.get("/me")).data["organization"]["name"]
    lesser = await hub.client(organization, permissions=("apikey.*", "workflow.read"))
    mighty = (await admin.get("/me")).data["id"]
    refused = await lesser.delete(f"/auth/api-keys/{mighty}")
    assert (refused.status, refused.codes) == (403, {"AUTHORIZATION_ERROR"})
    equal = (await lesser.post("/auth/api-keys", {"name": "n", "permissions": ["workflow.read"]})).data["id"]
    assert (await lesser.delete(f"/auth/api-keys/{equal}")).status == 200
    assert (await admin.get("/me")).status == 200


@pytest.mark.parametrize(
    ("body", "field"),
    [
        ({"name": "n", "permissions": ["workflow.fly"]}, "permissions[0]"),
        ({"name": "n", "permissions": ["*"]}, "permissions[0]"),
        ({"name": "n", "permissions": [".*"]}, "permissions[0]"),
        ({"name": "n", "permissions": ["workflow.read", 5]}, "permissions[1]"),
        ({"name": "n", "role": "owner"}, "role"),
        ({"name": "n"}, "permissions"),
        ({"role": "admin"}, "name"),
        ({"name": " ", "role": "admin"}, "name"),
        ({"name": "n", "role": "admin", "expires_at": "2020-01-01T00:00:00Z"}, "expires_at"),
        ({"name": "n", "role": "admin", "expires_at": "0001-01-01T00:00:00+14:00"}, "expires_at"),
        ({"name": "n", "role": "admin", "expires_at": "never"}, "expires_at"),
        ({"name": "n", "role": "admin", "organization": "x"}, "organization"),
    ],
)
async def test_what_is_wrong_with_a_new_key_is_named(admin: Client, body: dict[str, Any], field: str) -> None:
    answer = await admin.post("/auth/api-keys", body)
    assert (answer.status, answer.codes, answer.fields) == (422, {"VALIDATION_ERROR"}, [field])


async def test_last_use_is_shown(admin: Client) -> None:
    created = (await admin.post("/auth/api-keys", {"name": "n", "role": "admin"})).data

    async def last_used() -> Any:
        listed = (await admin.get("/auth/api-keys")).data
        return next(each["last_used_at"] for each in listed if each["id"] == created["id"])

    assert await last_used() is None
    await with_key(admin, created["api_key"]).get("/me")
    assert await last_used() >= created["created_at"]


async def test_creation_and_revocation_are_in_the_log_without_the_key(admin: Client) -> None:
    created = (await admin.post("/auth/api-keys", {"name": "noted", "role": "admin"})).data
    await admin.delete(f"/auth/api-keys/{created['id']}")
    events = [e for e in await admin.events(types="apikey.*") if e["stream"] == f"apikey:{created['id']}"]
    assert [event["type"] for event in events] == ["apikey.created", "apikey.revoked"]
    assert events[0]["data"]["name"] == "noted"
    assert created["api_key"] not in str(events)
