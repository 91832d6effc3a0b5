"""The public keys of webhooks at their well-known address."""

from __future__ import annotations

import pytest

from executor.domain.values import Instant
from tests.integration.endpoints import endpoint_with
from tests.integration.hubs import Answer, Client, Hub
from webhooks.jwks import jwks
from webhooks.signing import new_secret, public_key

pytestmark = pytest.mark.asyncio(loop_scope="session")

URL = "http://127.0.0.1:2"
"""Where nobody listens."""


async def shown(hub: Hub, id: str, method: str = "GET") -> Answer:
    """As anybody sees it, without credentials, and at the root of the hub."""
    return await hub.nobody.send(method, f"/.well-known/runcast/webhooks/{id}/jwks.json", prefix="")


def ids_of(*secrets: str) -> list[str]:
    return [key.kid for key in jwks(public_key(secret) for secret in secrets).keys]


async def test_anybody_gets_the_key_that_signs_now_and_nothing_else(hub: Hub, admin: Client) -> None:
    secret = new_secret("ed25519")
    id = await endpoint_with(hub, admin, URL, secret)
    answer = await shown(hub, id)
    assert (answer.status, answer.headers["Content-Type"]) == (200, "application/jwk-set+json")
    assert answer.headers["Cache-Control"] == "public, max-age=300"
    (key,) = answer.json["keys"]
    assert set(key) == {"kty", "crv", "x", "kid", "use", "alg"}, "and no d, which is the private key"
    assert [key["kid"]] == ids_of(secret)
    head = await shown(hub, id, "HEAD")
    assert (head.status, head.body) == (200, b"")


async def test_while_one_replaces_another_both_are_there_and_then_the_newest_alone(hub: Hub, admin: Client) -> None:
    new, old, shared = new_secret("ed25519"), new_secret("ed25519"), new_secret()
    during = await endpoint_with(hub, admin, URL, new, shared, old)
    assert [key["kid"] for key in (await shown(hub, during)).json["keys"]] == ids_of(new, old)
    over = await endpoint_with(hub, admin, URL, new, old, until=Instant("2020-01-01T00:00:00.000Z"))
    assert [key["kid"] for key in (await shown(hub, over)).json["keys"]] == ids_of(new)
    back = await endpoint_with(hub, admin, URL, shared, old)
    assert [key["kid"] for key in (await shown(hub, back)).json["keys"]] == ids_of(old)


async def test_what_has_no_public_key_looks_like_what_is_not_there(hub: Hub, admin: Client) -> None:
    shared = (await admin.webhook(URL))["id"]
    deleted = await endpoint_with(hub, admin, URL, new_secret("ed25519"))
    assert (await admin.delete(f"/webhooks/{deleted}")).status == 200
    workflow = (await admin.workflow())["id"]
    said = set()
    for id in (shared, deleted, workflow, "01ARZ3NDEKTSV4RRFFQ69G5FAV", "x", "%00"):
        answer = await shown(hub, id)
        assert (answer.status, answer.codes) == (404, {"RESOURCE_NOT_FOUND"})
        assert "Cache-Control" not in answer.headers
        said.add(answer.errors[0]["message"].replace(id.replace("%00", "\0"), ""))
    assert len(said) == 1
