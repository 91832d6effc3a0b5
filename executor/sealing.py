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
import time
from collections.abc import Callable
from typing import NamedTuple

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

from executor.domain.errors import ResourceConflict
from executor.domain.secrets import SEALED_PREFIX
from executor.ports import Organizations

_NONCE_BYTES = 12
_KEY_BYTES = 32
_DATA_KEY_CONTEXT = "organization-key"
_TRUSTED_SECONDS = 2.0
"""How long an opened data key is used before the ledger is asked again whether it is still there."""


class Unsealable(Exception):
    """A sealed text cannot be opened: it was made under another key or for another place, or it was altered."""


class KeyForgotten(ResourceConflict, Unsealable):
    """The organization's key was forgotten on purpose: what was sealed under it is lost, and nothing is sealed."""

    def __init__(self, name: str) -> None:
        super().__init__(
            f"the key of organization '{name}' was forgotten: what was sealed under it cannot be opened any more, "
            "and nothing can be sealed until it has a new one (runcast organizations new-key)"
        )


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


class _Known(NamedTuple):
    """An opened data key, what it was opened from, and when the ledger last had it."""

    sealed_key: str
    key: bytes
    checked: float


class Sealer:
    """Seals and opens under the organizations' data keys. A key that is opened is used for two seconds before the
    ledger is asked again, so that one that another process forgot is soon forgotten here."""

    def __init__(
        self, key: SecretKey, organizations: Organizations, seconds: Callable[[], float] = time.monotonic
    ) -> None:
        self._key = key
        self._organizations = organizations
        self._seconds = seconds
        self._known: dict[str, _Known] = {}

    async def seal(self, organization_id: str, plaintext: str, context: str) -> str:
        """The sealed text; another one each time. `context` says what for, such as `webhook:ID:secret`."""
        return _seal(await self._data_key(organization_id), plaintext.encode(), organization_id, context)

    async def open(self, organization_id: str, sealed: str, context: str) -> str:
        """What was sealed for this organization and context. Raises `Unsealable`."""
        return _open(await self._data_key(organization_id), sealed, organization_id, context).decode()

    async def key_in_use(self, organization_id: str) -> str:
        """The key under which an organization's texts open now, sealed: what was opened under another one is not to
        be used any more. Raises `Unsealable`."""
        await self._data_key(organization_id)
        return self._known[organization_id].sealed_key

    def forget(self, organization_id: str) -> None:
        """Asks the ledger before an organization's key is used again."""
        self._known.pop(organization_id, None)

    async def _data_key(self, organization_id: str) -> bytes:
        known = self._known.get(organization_id)
        now = self._seconds()
        if known is not None and now - known.checked < _TRUSTED_SECONDS:
            return known.key
        organization = await self._organizations.get(organization_id)
        if organization is None:
            raise Unsealable(f"organization '{organization_id}' is unknown: it has no key to seal under")
        if not organization.sealed_key:
            self.forget(organization_id)
            raise KeyForgotten(organization.name)
        if known is not None and known.sealed_key == organization.sealed_key:
            key = known.key
        else:
            key = self._key.organization_key(organization_id, organization.sealed_key)
        self._known[organization_id] = _Known(organization.sealed_key, key, now)
        return key

    def __repr__(self) -> str:
        return f"Sealer({len(self._known)} organizations' keys [REDACTED])"


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
            "or a key that was forgotten, or for another place, or it was altered"
        ) from None
