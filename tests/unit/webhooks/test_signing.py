from __future__ import annotations

import base64
import hashlib
import hmac

import pytest
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

from webhooks.signing import body_signature, headers, is_signing_key, key_of, new_secret, public_key, signature

PAIR = "whsk_6Xb/dCcHpPea21PS1N9VY/NZW723CEc77N4rJCubMbfVKIDij2HKpMKkioLlX0dRqSKJp4AJ6p9lMicMFs6Kvg=="
"""A private key as Svix writes it: the seed, and the public key behind it."""
SEED = "whsk_" + base64.b64encode(base64.b64decode(PAIR.removeprefix("whsk_"))[:32]).decode()
PUBLIC = "whpk_1SiA4o9hyqTCpIqC5V9HUakiiaeACeqfZTInDBbOir4="


def test_the_signature_is_the_one_of_the_standards_own_example() -> None:
    """The test vector of the Standard Webhooks reference libraries."""
    made = signature(
        "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw",
        "msg_p5jXN8AQM9LWM0D4loKWxJek",
        1614265330,
        b'{"test": 2432232314}',
    )
    assert made == "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE="


@pytest.mark.parametrize("secret", [PAIR, SEED])
def test_a_private_key_signs_as_in_the_standards_own_example(secret: str) -> None:
    """Ed25519 is deterministic, so the signature in the specification is the only one."""
    made = signature(secret, "msg_p5jXN8AQM9LWM0D4loKWxJek", 1614265330, b'{"test": 2432232314}')
    assert made == ("v1a,hnO3f9T8Ytu9HwrXslvumlUpqtNVqkhqw/enGzPCXe5BdqzCInXqYXFymVJaA7AZdpXwVLPo3mNl8EM+m7TBAg==")
    assert public_key(secret) == PUBLIC


def test_any_text_is_a_key() -> None:
    assert key_of("whsec_MDAwMDAwMDAwMDAwMDAwMDAwMDAwMDAw") == b"0" * 24
    assert key_of("your-webhook-secret") == b"your-webhook-secret"
    assert key_of("whsec_not base64!") == b"whsec_not base64!"
    assert key_of("é") == "é".encode()


@pytest.mark.parametrize(
    "text",
    [
        "whsec_" + "A" * 43 + "=",
        "whsk_",
        "whsk_not base64!",
        "whsk_é",
        "whsk_" + base64.b64encode(bytes(33)).decode(),
        "whsk_" + base64.b64encode(bytes(64)).decode(),
        PUBLIC,
        "",
    ],
)
def test_what_only_looks_like_a_private_key_is_a_shared_secret(text: str) -> None:
    """Also a seed with a public key that is another's."""
    assert not is_signing_key(text)
    assert signature(text, "E", 7, b"{}").startswith("v1,")
    with pytest.raises(ValueError, match="no public key") as refused:
        public_key(text)
    assert text == "" or text not in str(refused.value)


def test_made_secrets_are_standard_ones_and_never_the_same() -> None:
    assert len(base64.b64decode(new_secret().removeprefix("whsec_"), validate=True)) == 32
    assert len(base64.b64decode(new_secret("ed25519").removeprefix("whsk_"), validate=True)) == 32
    assert (is_signing_key(new_secret()), is_signing_key(new_secret("ed25519"))) == (False, True)
    assert len({new_secret(), new_secret(), new_secret("ed25519"), new_secret("ed25519")}) == 4


def test_the_public_key_verifies_what_the_private_one_signs_and_nothing_else() -> None:
    secret = new_secret("ed25519")
    public = Ed25519PublicKey.from_public_bytes(base64.b64decode(public_key(secret).removeprefix("whpk_")))
    signed = base64.b64decode(signature(secret, "E", 7, b"{}").removeprefix("v1a,"))
    public.verify(signed, b"E.7.{}")
    with pytest.raises(InvalidSignature):
        public.verify(signed, b"E.8.{}")


def test_the_older_signature_takes_the_whole_text_as_its_key() -> None:
    wanted = hmac.new(b"whsec_MDAw", b"{}", hashlib.sha256).hexdigest()
    assert body_signature("whsec_MDAw", b"{}") == f"sha256={wanted}"


def test_while_a_secret_replaces_another_both_sign_the_newest_first() -> None:
    assert signed_with("n", "o") == {
        "Content-Type": "application/json",
        "webhook-id": "E",
        "webhook-timestamp": "7",
        "webhook-signature": f"{signature('n', 'E', 7, b'{}')} {signature('o', 'E', 7, b'{}')}",
        "X-Webhook-Signature": body_signature("n", b"{}"),
        "X-Webhook-Event": "execution.failed",
        "X-Webhook-Delivery": "D",
        "X-Webhook-Attempt": "3",
    }


def test_the_older_signature_is_the_newest_shared_secrets_or_is_not_there() -> None:
    made = signed_with(PAIR, "n", "o")
    assert made["X-Webhook-Signature"] == body_signature("n", b"{}")
    assert [each.partition(",")[0] for each in made["webhook-signature"].split(" ")] == ["v1a", "v1", "v1"]
    assert "X-Webhook-Signature" not in signed_with(PAIR)
    assert "X-Webhook-Signature" not in signed_with(new_secret("ed25519"), PAIR)


def signed_with(*secrets: str) -> dict[str, str]:
    return headers(
        message_id="E",
        delivery_id="D",
        event="execution.failed",
        attempt=3,
        timestamp=7,
        body=b"{}",
        secrets=secrets,
    )
