"""Secrets at rest: sealed before they reach the log, opened where they go outside.

AES-256-GCM (NIST SP 800-38D) with a random 96-bit nonce, under a data key of each organization. The data keys live in
the organizations' ledger, sealed themselves by a key derived from `SECRET_KEY`. So whoever takes a backup without
`SECRET_KEY` can open nothing, and one organization's key opens nothing of another.

The text form is `sealed:v1:` and base64url of nonce, ciphertext and tag. Organization and context (what the secret
is for) are authenticated with it: a sealed text that is moved to another place does not open there.
"""

from __future__ import annotations

import base64
import binascii
import hmac
import os

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

from executor.domain.secrets import SEALED_PREFIX
from executor.ports import Organizations

_NONCE_BYTES = 12
_KEY_BYTES = 32
_DATA_KEY_CONTEXT = "organization-key"


class Unsealable(Exception):
    """A sealed text cannot be opened: it was made under another key or for another place, or it was altered."""


class SecretKey:
    """The master key of an installation, and what is derived from it. Its repr shows nothing."""

    def __init__(self, sealing: bytes, hashing: bytes) -> None:
        self._sealing, self._hashing = sealing, hashing

    @classmethod
    def from_text(cls, text: str) -> SecretKey:
        """Derives the keys from any text (HKDF-SHA256, RFC 5869: a key of its own for each purpose)."""
        if not text:
            raise ValueError("the secret key is empty")
        return cls(_derive(text, b"runcast/organization-keys"), _derive(text, b"runcast/api-key-digests"))

    def digest(self, key: str) -> str:
        """The keyed hash (HMAC-SHA256, hex) by which an API key is stored and found."""
        return hmac.digest(self._hashing, key.encode(), "sha256").hex()

    def new_organization_key(self, organization_id: str) -> str:
        """A fresh random data key, sealed: the `sealed_key` of a new organization."""
        key = AESGCM.generate_key(_KEY_BYTES * 8)
        return _seal(self._sealing, key, organization_id, _DATA_KEY_CONTEXT)

    def organization_key(self, organization_id: str, sealed_key: str) -> bytes:
        """The data key itself. Raises `Unsealable`."""
        return _open(self._sealing, sealed_key, organization_id, _DATA_KEY_CONTEXT)

    def __repr__(self) -> str:
        return "SecretKey([REDACTED])"


class Sealer:
    """Seals and opens under the organizations' data keys, each of which it fetches and opens once."""

    def __init__(self, key: SecretKey, organizations: Organizations) -> None:
        self._key = key
        self._organizations = organizations
        self._data_keys: dict[str, bytes] = {}

    async def seal(self, organization_id: str, plaintext: str, context: str) -> str:
        """The sealed text; another one each time. `context` says what for, such as `webhook:ID:secret`."""
        return _seal(await self._data_key(organization_id), plaintext.encode(), organization_id, context)

    async def open(self, organization_id: str, sealed: str, context: str) -> str:
        """What was sealed for this organization and context. Raises `Unsealable`."""
        return _open(await self._data_key(organization_id), sealed, organization_id, context).decode()

    async def _data_key(self, organization_id: str) -> bytes:
        key = self._data_keys.get(organization_id)
        if key is None:
            organization = await self._organizations.get(organization_id)
            if organization is None:
                raise Unsealable(f"organization '{organization_id}' is unknown: it has no key to seal under")
            key = self._key.organization_key(organization_id, organization.sealed_key)
            self._data_keys[organization_id] = key
        return key

    def __repr__(self) -> str:
        return f"Sealer({len(self._data_keys)} organizations' keys [REDACTED])"


def _derive(text: str, purpose: bytes) -> bytes:
    return HKDF(algorithm=SHA256(), length=_KEY_BYTES, salt=None, info=purpose).derive(text.encode())


def _associated(organization_id: str, context: str) -> bytes:
    return f"{organization_id}\0{context}".encode()


def _seal(key: bytes, plaintext: bytes, organization_id: str, context: str) -> str:
    nonce = os.urandom(_NONCE_BYTES)
    sealed = nonce + AESGCM(key).encrypt(nonce, plaintext, _associated(organization_id, context))
    return SEALED_PREFIX + base64.urlsafe_b64encode(sealed).decode()


def _open(key: bytes, text: str, organization_id: str, context: str) -> bytes:
    if not text.startswith(SEALED_PREFIX):
        raise Unsealable(f"what is stored as {context} is not a sealed text ({SEALED_PREFIX}…)")
    try:
        sealed = base64.b64decode(text.removeprefix(SEALED_PREFIX), altchars=b"-_", validate=True)
        nonce, ciphertext = sealed[:_NONCE_BYTES], sealed[_NONCE_BYTES:]
        return AESGCM(key).decrypt(nonce, ciphertext, _associated(organization_id, context))
    except (InvalidTag, ValueError, binascii.Error):
        # From None: nothing of the text may show in a traceback.
        raise Unsealable(
            f"{context} of organization '{organization_id}' cannot be opened: it was sealed under another SECRET_KEY "
            "or for another place, or it was altered"
        ) from None
