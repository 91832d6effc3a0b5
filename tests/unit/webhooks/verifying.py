"""What receivers meet, for every verifier that we give them: what is signed, and what each must make of it."""

from __future__ import annotations

import base64
from typing import Any

from msgspec import Struct, structs

from webhooks.signing import WHPK, public_key, signature

ID = "01ARZ3NDEKTSV4RRFFQ69G5FAV"
SENT = 1_700_000_000
BODY = '{"event": "execution.completed", "data": {"text": "Grüezi \\u0000"}}'
STANDARD = "whsec_" + base64.b64encode(bytes(range(32))).decode()
OTHER = "whsec_" + base64.b64encode(bytes(32)).decode()
PRIVATE = "whsk_" + base64.b64encode(bytes(range(32))).decode()
ANOTHER_PRIVATE = "whsk_" + base64.b64encode(bytes(32)).decode()
TEXT = "your-webhook-sécret"


class Case(Struct, frozen=True, kw_only=True):
    """`error` is the name of the class that the verifier raises; null for what is genuine. `SecretError` is a secret
    that is none, which each language has its own class for."""

    name: str
    secret: str | tuple[str, ...]
    headers: dict[str, str]
    body: str = BODY
    now: float = SENT
    error: str | None = None


def signed(*secrets: str, **changed: str | None) -> dict[str, str]:
    """The three headers; `id`, `timestamp` and `signature` as they are changed under way, null to leave one out."""
    fields: dict[str, Any] = {
        "id": ID,
        "timestamp": str(SENT),
        "signature": " ".join(signature(each, ID, SENT, BODY.encode()) for each in secrets),
    } | changed
    return {f"webhook-{name}": value for name, value in fields.items() if value is not None}


def _genuine() -> list[Case]:
    public = public_key(PRIVATE)
    both = signed(STANDARD, TEXT, PRIVATE)
    unknown = signed(signature=f"v0 v9,AAAA v1b,=== , {both['webhook-signature']} v1")
    return [
        Case(name="a made secret", secret=STANDARD, headers=signed(STANDARD)),
        Case(name="any text", secret=TEXT, headers=signed(TEXT)),
        Case(name="a public key", secret=public, headers=signed(PRIVATE)),
        Case(name="the newer of two that sign", secret=STANDARD, headers=both),
        Case(name="the older of two that sign", secret=TEXT, headers=both),
        Case(name="a public key beside shared secrets", secret=public, headers=both),
        Case(name="one of several of ours", secret=(OTHER, public_key(ANOTHER_PRIVATE), TEXT), headers=signed(TEXT)),
        Case(name="versions that nobody knows", secret=TEXT, headers=unknown),
        Case(name="names in capitals", secret=TEXT, headers={n.title(): v for n, v in signed(TEXT).items()}),
        Case(name="as late as may be", secret=TEXT, headers=signed(TEXT), now=SENT + 300),
        Case(name="as early as may be", secret=TEXT, headers=signed(TEXT), now=SENT - 300),
    ]


def _refused() -> list[Case]:
    no_match, headers, public = "NoSignatureMatches", signed(STANDARD), public_key(PRIVATE)
    moved = headers | {"webhook-timestamp": str(SENT + 1)}
    asymmetric = signed(PRIVATE)["webhook-signature"]
    misplaced = asymmetric.replace("v1a,", "v1,") + " " + headers["webhook-signature"].replace("v1,", "v1a,")
    wrong = ("v1,", "v1a,", "v1", "v1,é", "v1a,é", "v1a,AAAA", "nonsense", misplaced)
    return [
        Case(name="another secret", secret=OTHER, headers=headers, error=no_match),
        Case(name="another public key", secret=public_key(ANOTHER_PRIVATE), headers=signed(PRIVATE), error=no_match),
        Case(name="the prefix taken for text", secret=STANDARD[6:], headers=headers, error=no_match),
        Case(name="a changed body", secret=STANDARD, headers=headers, body=BODY + " ", error=no_match),
        Case(name="a changed body, Ed25519", secret=public, headers=signed(PRIVATE), body="{}", error=no_match),
        Case(name="another id", secret=STANDARD, headers=headers | {"webhook-id": "x"}, error=no_match),
        Case(name="a strange id", secret=STANDARD, headers=headers | {"webhook-id": "\udc80"}, error=no_match),
        Case(name="a moved time", secret=STANDARD, headers=moved, error=no_match),
        *(
            Case(name=f"signature {each!r}", secret=secret, headers=signed(signature=each), error=no_match)
            for secret in (STANDARD, public)
            for each in wrong
        ),
        Case(name="too late", secret=STANDARD, headers=headers, now=SENT + 301, error="TimestampTooOld"),
        Case(name="too early", secret=STANDARD, headers=headers, now=SENT - 301, error="TimestampTooNew"),
        *(
            Case(name=f"time {each!r}", secret=TEXT, headers=signed(TEXT, timestamp=each), error="BadHeader")
            for each in ("soon", "-1", "1e9", "1_700", "٣", f"{SENT}.5", "9" * 5000)
        ),
        *(
            Case(name=f"{name} {each!r}", secret=TEXT, headers=signed(TEXT, **{name: each}), error="BadHeader")
            for name in ("id", "timestamp", "signature")
            for each in (None, "")
        ),
    ]


def _secrets() -> list[Case]:
    """What is no secret, and would let anybody in if it were taken for one."""
    wrong = ("", "whsec_", (), (TEXT, ""), "whsec_é", "whsec_A", PRIVATE, WHPK, "whpk_é", "whpk_AAAA")
    headers = signed(TEXT, PRIVATE)
    return [Case(name=f"secret {each!r}", secret=each, headers=headers, error="SecretError") for each in wrong]


CASES = [*_genuine(), *_refused(), *_secrets()]


def as_json(case: Case) -> dict[str, Any]:
    return structs.asdict(case)
