from __future__ import annotations

import hashlib
import hmac

from webhooks.signing import body_signature, headers, key_of, signature


def test_the_signature_is_the_one_of_the_standards_own_example() -> None:
    """The test vector of the Standard Webhooks reference libraries."""
    made = signature(
        "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw",
        "msg_p5jXN8AQM9LWM0D4loKWxJek",
        1614265330,
        b'{"test": 2432232314}',
    )
    assert made == "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE="


def test_any_text_is_a_key() -> None:
    assert key_of("whsec_MDAwMDAwMDAwMDAwMDAwMDAwMDAwMDAw") == b"0" * 24
    assert key_of("your-webhook-secret") == b"your-webhook-secret"
    assert key_of("whsec_not base64!") == b"whsec_not base64!"
    assert key_of("é") == "é".encode()


def test_the_older_signature_takes_the_whole_text_as_its_key() -> None:
    wanted = hmac.new(b"whsec_MDAw", b"{}", hashlib.sha256).hexdigest()
    assert body_signature("whsec_MDAw", b"{}") == f"sha256={wanted}"


def test_while_a_secret_replaces_another_both_sign_the_newest_first() -> None:
    made = headers(
        message_id="E",
        delivery_id="D",
        event="execution.failed",
        attempt=3,
        timestamp=7,
        body=b"{}",
        secrets=("n", "o"),
    )
    assert made == {
        "Content-Type": "application/json",
        "webhook-id": "E",
        "webhook-timestamp": "7",
        "webhook-signature": f"{signature('n', 'E', 7, b'{}')} {signature('o', 'E', 7, b'{}')}",
        "X-Webhook-Signature": body_signature("n", b"{}"),
        "X-Webhook-Event": "execution.failed",
        "X-Webhook-Delivery": "D",
        "X-Webhook-Attempt": "3",
    }
