"""How webhooks sign, by whom they are known, and how their secrets are replaced: what clients see of it."""

from __future__ import annotations

from typing import Any

import pytest

from executor.domain.values import Instant, seconds_between
from tests.integration.hubs import Client, Hub, until
from tests.integration.receiving import Arrived, Receiver, receiving
from webhooks.signing import new_secret, public_key
from webhooks.verification import verify

pytestmark = pytest.mark.asyncio(loop_scope="session")

DAY = pytest.approx(86_400, abs=60)
URL = "http://127.0.0.1:2/hook"


async def test_a_private_key_is_made_or_given_and_its_public_key_shown(admin: Client) -> None:
    made = await admin.webhook(URL, signing="ed25519")
    assert made["secret"].startswith("whsk_")
    assert made["public_key"] == public_key(made["secret"])
    assert made["jwks_url"] == f"/.well-known/runcast/webhooks/{made['id']}/jwks.json"
    secret = new_secret("ed25519")
    given = await admin.webhook(URL, signing="ed25519", secret=secret)
    assert (given["secret"], given["public_key"]) == (secret, public_key(secret))
    shared = await admin.webhook(URL)
    assert (shared["public_key"], shared["jwks_url"]) == (None, None)
    shown = (await admin.get("/webhooks")).body
    assert b"whsk_" not in shown


async def test_another_way_of_signing_brings_another_secret_while_the_old_one_signs_on(admin: Client) -> None:
    path = f"/webhooks/{(await admin.webhook(URL))['id']}"
    changed = (await admin.put(path, {"signing": "ed25519"})).data
    assert (changed["signing"], changed["public_key"]) == ("ed25519", public_key(changed["secret"]))
    (old,) = changed["retired_secrets"]
    assert old["public_key"] is None
    assert overlaps(changed) == [DAY]
    again = (await admin.put(path, {"signing": "ed25519", "description": "x"})).data
    assert "secret" not in again
    assert again["public_key"] == changed["public_key"]
    back = (await admin.put(path, {"signing": None})).data
    assert (back["signing"], back["public_key"]) == ("hmac", None)
    assert back["secret"].startswith("whsec_")
    assert [one["public_key"] for one in back["retired_secrets"]] == [changed["public_key"], None]
    given = (await admin.put(path, {"signing": "ed25519", "secret": new_secret("ed25519")})).data
    assert "secret" not in given
    assert given["signing"] == "ed25519"


async def test_a_secret_is_rotated_and_the_new_one_shown_once(admin: Client) -> None:
    webhook = await admin.webhook(URL)
    path = f"/webhooks/{webhook['id']}"
    rotated = await admin.post(f"{path}/rotate-secret", {})
    assert rotated.status == 200
    assert rotated.data["secret"].startswith("whsec_")
    assert rotated.data["secret"] != webhook["secret"]
    given = (await admin.post(f"{path}/rotate-secret", {"secret": "of ours", "overlap_seconds": 3600})).data
    assert given["secret"] == "of ours"
    assert overlaps(given) == [pytest.approx(3600, abs=60), DAY]
    leaked = (await admin.post(f"{path}/rotate-secret", {"overlap_seconds": 0})).data
    assert leaked["retired_secrets"] == given["retired_secrets"]
    assert "secret" not in (await admin.get(path)).data
    events = await admin.events(types="webhook.updated")
    assert [event["data"]["changed"] for event in events] == [["secret"]] * 3
    assert "of ours" not in str(events)


@pytest.mark.parametrize(
    ("body", "field"),
    [
        ({"secret": "whsec_short"}, "secret"),
        ({"secret": "whsk_x"}, "secret"),
        ({"secret": "of ours"}, "secret"),
        ({"secret": "[REDACTED]"}, "secret"),
        ({"overlap_seconds": -1}, "overlap_seconds"),
        ({"overlap_seconds": 604_801}, "overlap_seconds"),
        ({"overlap": 1}, "overlap"),
    ],
)
async def test_a_rotation_that_cannot_be_changes_nothing(admin: Client, body: dict[str, object], field: str) -> None:
    webhook = await admin.webhook(URL, secret="of ours")
    refused = await admin.post(f"/webhooks/{webhook['id']}/rotate-secret", body)
    assert (refused.status, refused.fields) == (422, [field])
    assert await admin.events(types="webhook.updated") == []


async def test_while_one_secret_replaces_another_what_arrives_is_signed_by_both(admin: Client) -> None:
    async with receiving() as receiver:
        webhook = await admin.webhook(receiver.url, "workflow.created")
        path = f"/webhooks/{webhook['id']}"
        secrets = [webhook["secret"]]
        secrets.append((await admin.post(f"{path}/rotate-secret")).data["secret"])
        secrets.append((await admin.put(path, {"signing": "ed25519"})).data["public_key"])
        await admin.workflow()
        (arrived,) = await until(lambda: _arrived(receiver, 1))
        for secret in secrets:
            verify(arrived.body, arrived.headers, secret)


async def test_oauth2_is_kept_sealed_and_redacted_keeps_its_secret(admin: Client) -> None:
    asked = {"type": "oauth2", "token_url": "http://127.0.0.1:2/token", "client_id": "me", "scope": "a b"}
    webhook = await admin.webhook(URL, authentication=asked | {"client_secret": "hunter2"})
    shown = asked | {"client_secret": "[REDACTED]", "client_auth": "basic"}
    assert webhook["authentication"] == shown
    again = await admin.put(f"/webhooks/{webhook['id']}", {"authentication": shown | {"audience": "https://api"}})
    assert again.data["authentication"] == shown | {"audience": "https://api"}
    events = await admin.events(types="webhook.*")
    assert "hunter2" not in str(events)
    kept = [event["data"]["endpoint"]["authentication"] for event in events]
    assert [one["grant"]["audience"] for one in kept] == [None, "https://api"]


async def test_what_was_given_as_metadata_is_shown_and_not_sent(hub: Hub, admin: Client) -> None:
    async with receiving() as receiver:
        await admin.webhook(receiver.url, "webhook.*", metadata={"note": "hush"})
        webhook = await admin.webhook(URL, metadata={"note": "hush"})
        await admin.put(f"/webhooks/{webhook['id']}", {"metadata": {"note": "hush hush"}})
        arrived = await until(lambda: _arrived(receiver, 2))
        assert not any(b"hush" in each.body for each in arrived)
        assert (await admin.get(f"/webhooks/{webhook['id']}")).data["metadata"] == {"note": "hush hush"}


async def test_enabling_forgets_since_when_it_failed(hub: Hub, admin: Client) -> None:
    ledger = hub.services.store.ledgers.deliveries
    webhook = await admin.webhook(URL)
    path = f"/webhooks/{webhook['id']}"
    for switch_on in (lambda: admin.post(f"{path}/enable"), lambda: admin.put(path, {"active": True})):
        await admin.post(f"{path}/test")

        async def is_failing() -> bool:
            state = await ledger.state(webhook["id"])
            return state is not None and state.failing_since is not None

        await until(is_failing)
        await admin.post(f"{path}/disable")
        assert (await switch_on()).data["active"] is True
        assert not await is_failing()


def overlaps(webhook: dict[str, Any]) -> list[float]:
    """Seconds from its change to the end of each secret that was replaced."""
    changed = Instant(webhook["updated_at"])
    return [seconds_between(changed, Instant(old["expires_at"])) for old in webhook["retired_secrets"]]


async def _arrived(receiver: Receiver, count: int) -> list[Arrived] | None:
    return list(receiver.arrived) if len(receiver.arrived) == count else None
