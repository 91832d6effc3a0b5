"""What a hub sends is verified by what others verify with, and by what our documentation shows to receivers; what was
changed on its way is not."""

from __future__ import annotations

import asyncio
import base64
import json
import os
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import pytest
import standardwebhooks
import svix.webhooks
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
from starlette.requests import Request

from tests.integration.endpoints import endpoint_with
from tests.integration.hubs import Client, Hub, until
from tests.integration.receiving import Arrived, receiving
from tests.integration.test_javascript import here, node, ran
from tests.test_docs import Block, blocks
from webhooks.signing import body_signature, key_of, new_secret, signature
from webhooks.verification import VerificationError, verify

__all__ = ["here"]

pytestmark = pytest.mark.asyncio(loop_scope="session")

TEXT = "your-webhook-sécret"


class Sent(NamedTuple):
    """A request, what a receiver knows, and whether it is to believe it."""

    name: str
    body: bytes
    headers: dict[str, str]
    secret: str
    is_genuine: bool = True


async def delivered(hub: Hub, owner: Client, *secrets: str) -> tuple[str, Arrived]:
    """A webhook whose newest secret is the first, and what the hub has sent to it."""
    async with receiving() as receiver:
        id = await endpoint_with(hub, owner, receiver.url, *secrets)
        assert (await owner.post(f"/webhooks/{id}/test")).status == 202

        async def arrived() -> list[Arrived]:
            return receiver.arrived

        return id, (await until(arrived))[0]


async def requests(hub: Hub, owner: Client) -> list[Sent]:
    """Of one secret, of any text, in a rotation for who has the new one and who has the old one; and forged ones."""
    new, old = new_secret(), new_secret()
    sent = []
    for name, signing, known in (
        ("one secret", (new,), new),
        ("any text", (TEXT,), TEXT),
        ("the new one in a rotation", (new, TEXT, old), new),
        ("the old one in a rotation", (new, TEXT, old), old),
        ("beside ed25519", (new_secret("ed25519"), new), new),
    ):
        _, arrived = await delivered(hub, owner, *signing)
        sent.append(Sent(name, arrived.body, headers_of(arrived), known))
    return sent + [forged for each in sent[:3] for forged in forgeries(each)]


def headers_of(arrived: Arrived) -> dict[str, str]:
    return {name.lower(): value for name, value in arrived.headers.items() if name.lower().startswith("webhook-")}


def forgeries(sent: Sent) -> list[Sent]:
    name, body, headers, secret, _ = sent
    old = int(time.time()) - 400
    replayed = {
        "webhook-timestamp": str(old),
        "webhook-signature": signature(secret, headers["webhook-id"], old, body),
    }
    without = {"webhook-signature": "v1, v1 v2," + headers["webhook-signature"].partition(",")[2]}
    return [
        Sent(f"{name}, its body changed", body + b" ", headers, secret, False),
        Sent(f"{name}, its id changed", body, headers | {"webhook-id": "another"}, secret, False),
        Sent(f"{name}, another secret", body, headers, new_secret(), False),
        Sent(f"{name}, without a signature", body, headers | without, secret, False),
        Sent(f"{name}, sent again much later", body, headers | replayed, secret, False),
    ]


Verifier = Callable[[bytes, dict[str, str], str], Any]


def official(cls: Callable[[bytes], Any]) -> Verifier:
    return lambda body, headers, secret: cls(key_of(secret)).verify(body, headers)


@pytest.mark.parametrize(
    ("verifier", "refusal"),
    [
        (official(standardwebhooks.Webhook), standardwebhooks.WebhookVerificationError),
        (official(svix.webhooks.Webhook), svix.webhooks.WebhookVerificationError),
        (verify, VerificationError),
    ],
    ids=["standardwebhooks", "svix", "ours"],
)
async def test_verifiers_accept_what_arrives_and_refuse_what_was_changed(
    hub: Hub, admin: Client, verifier: Verifier, refusal: type[Exception]
) -> None:
    for sent in await requests(hub, admin):
        if not sent.is_genuine:
            # Theirs takes an empty version apart with an error of Python's own.
            with pytest.raises((refusal, ValueError)):
                verifier(sent.body, sent.headers, sent.secret)
            continue
        verifier(sent.body, sent.headers, sent.secret)


async def test_the_official_verifiers_take_a_made_secret_as_it_was_shown_and_the_next_one(
    hub: Hub, admin: Client
) -> None:
    async with receiving() as receiver:
        webhook = await admin.webhook(receiver.url, "workflow.created")
        path, secrets = f"/webhooks/{webhook['id']}", [webhook["secret"]]
        secrets.append((await admin.post(f"{path}/rotate-secret", {})).data["secret"])
        await admin.workflow(name="sent")

        async def arrived() -> list[Arrived]:
            return receiver.arrived

        (got,) = await until(arrived)
    assert len(set(secrets)) == 2
    for secret in secrets:
        for cls in (standardwebhooks.Webhook, svix.webhooks.Webhook):
            cls(secret).verify(got.body, dict(got.headers))
        assert verify(got.body, got.headers, secret)["data"]["workflow"]["name"] == "sent"


async def test_the_older_signature_is_the_newest_shared_secret_s(hub: Hub, admin: Client) -> None:
    """Over the body alone, as the reference verifies it; a private key has none."""
    _, arrived = await delivered(hub, admin, TEXT, new_secret())
    assert arrived.headers["X-Webhook-Signature"] == body_signature(TEXT, arrived.body)
    _, arrived = await delivered(hub, admin, new_secret("ed25519"))
    assert "X-Webhook-Signature" not in arrived.headers


async def test_what_a_private_key_signs_is_verified_by_what_the_well_known_address_shows(
    hub: Hub, admin: Client
) -> None:
    new, old = new_secret("ed25519"), new_secret("ed25519")
    id, arrived = await delivered(hub, admin, new, old)
    shown = (await hub.nobody.send("GET", f"/.well-known/runcast/webhooks/{id}/jwks.json", prefix="")).json
    versions, signatures = zip(
        *(one.split(",") for one in arrived.headers["webhook-signature"].split(" ")), strict=True
    )
    assert versions == ("v1a", "v1a")
    signed = f"{arrived.id}.{arrived.headers['webhook-timestamp']}.".encode() + arrived.body
    for key, each in zip(shown["keys"], signatures, strict=True):
        public = Ed25519PublicKey.from_public_bytes(base64.urlsafe_b64decode(key["x"] + "="))
        public.verify(base64.b64decode(each), signed)
    known = run(documented("verify_jwks", "python"))["public_keys"](shown)
    assert len(known) == 2
    for each in known:
        assert verify(arrived.body, arrived.headers, each)["event"] == "webhook.test"
        with pytest.raises(VerificationError):
            verify(arrived.body + b" ", arrived.headers, each)


def documented(mark: str, language: str) -> Block:
    (block,) = [
        each for each in blocks() if (each.page.name, each.mark, each.language) == ("webhooks.md", mark, language)
    ]
    return block


def run(block: Block) -> dict[str, Any]:
    names: dict[str, Any] = {}
    exec(compile(block.text, f"{block.page.name}:{block.line}", "exec", dont_inherit=True), names)
    return names


async def test_python_by_hand(hub: Hub, admin: Client) -> None:
    is_genuine = run(documented("verify", "python"))["is_genuine"]
    for sent in await requests(hub, admin):
        assert is_genuine(sent.body, sent.headers, sent.secret) is sent.is_genuine, sent.name


async def test_starlette(hub: Hub, admin: Client, monkeypatch: pytest.MonkeyPatch) -> None:
    hook = run(documented("verify_starlette", "python"))["hook"]
    for sent in await requests(hub, admin):
        monkeypatch.setenv("WEBHOOK_SECRET", sent.secret)
        scope = {"type": "http", "method": "POST", "path": "/", "headers": raw(sent)}
        answer = await hook(Request(scope, receive=one_message(sent.body)))
        assert answer.status_code == (204 if sent.is_genuine else 400), sent.name


def raw(sent: Sent) -> list[tuple[bytes, bytes]]:
    return [(name.encode(), value.encode()) for name, value in sent.headers.items()]


def one_message(body: bytes) -> Callable[[], Any]:
    async def receive() -> dict[str, Any]:
        return {"type": "http.request", "body": body, "more_body": False}

    return receive


@pytest.mark.parametrize("mark", ["verify", "verify_fetch"])
async def test_javascript(hub: Hub, admin: Client, here: Path, mark: str) -> None:
    sent = await requests(hub, admin)
    known = [{"body": base64.b64encode(e.body).decode(), "headers": e.headers, "secret": e.secret} for e in sent]
    (here / "requests.json").write_text(json.dumps(known))
    (here / "documented.mjs").write_text(documented(mark, "javascript").text)
    said = (await ran(here, "genuine.mjs")).splitlines()
    assert [json.loads(line) for line in said] == [each.is_genuine for each in sent]


async def test_a_server_in_node(hub: Hub, admin: Client, here: Path) -> None:
    """As it is written, but for the port: a free one, which it says."""
    first, *others = await requests(hub, admin)
    text = documented("verify_node", "javascript").text
    assert text.count("}).listen(9000);") == 1
    text = text.replace(
        "}).listen(9000);", "}).listen(0, '127.0.0.1', function () { console.log(this.address().port); });"
    )
    (here / "server.mjs").write_text(text)
    process = await node(here, "server.mjs", WEBHOOK_SECRET=first.secret)
    assert process.stdout is not None
    try:
        port = int(await process.stdout.readline())
        for each in (first, *(other for other in others if other.secret == first.secret)):
            url = f"http://127.0.0.1:{port}/"
            async with admin.http.post(url, data=each.body, headers=each.headers) as answer:
                assert answer.status == (204 if each.is_genuine else 400), each.name
        assert (await process.stdout.readline()).decode().split()[0] == "webhook.test"
    finally:
        process.kill()
        await process.communicate()


async def test_shell(hub: Hub, admin: Client, tmp_path: Path) -> None:
    """All in one shell, in turn."""
    sent = await requests(hub, admin)
    script = [documented("verify", "bash").text, "set -f"]
    for number, each in enumerate(sent):
        (tmp_path / str(number)).write_bytes(each.body)
        headers = " ".join(quoted(each.headers[f"webhook-{name}"]) for name in ("id", "timestamp", "signature"))
        script.append(f"WEBHOOK_SECRET={quoted(each.secret)} is_genuine {number} {headers} && echo yes || echo no")
    script.append("is_genuine 0 x 'a[$(echo ran >&2)]' v1, && echo yes || echo no")
    process = await asyncio.create_subprocess_exec(
        *("bash", "-c", "\n".join(script)),
        cwd=tmp_path,
        env={"PATH": os.environ["PATH"]},
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    out, errors = await process.communicate()
    assert errors == b""
    assert out.decode().split() == [*("yes" if each.is_genuine else "no" for each in sent), "no"]


def quoted(text: str) -> str:
    assert "'" not in text
    return f"'{text}'"
