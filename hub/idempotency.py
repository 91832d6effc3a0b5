"""`Idempotency-Key`: a POST that is said twice is done once, and answered twice with the first answer.

(draft-ietf-httpapi-idempotency-key-header.) A key is its organization's for 24 hours. The answer is sealed at rest:
it may hold what is shown only once.
"""

from __future__ import annotations

import asyncio
import hashlib
import re
from collections.abc import Awaitable, Callable
from typing import Any, Final

import msgspec
import structlog
from starlette.responses import Response

from executor.domain.errors import Code, Invalid, Problem, ResourceConflict, Unavailable
from executor.domain.values import plus
from executor.ports import Clock, FirstAnswer, FirstAnswers
from executor.sealing import Sealer, Unsealable

HEADER: Final = "Idempotency-Key"
REPLAYED: Final = "Idempotent-Replayed"
"""The header that tells a repeated answer from a first one."""
KEPT_SECONDS: Final = 24 * 3600.0
_KEY: Final = re.compile(r"[\x21-\x7e]{1,255}")
_LOST_SECONDS: Final = 60.0
"""After which a request that never came to an answer, such as in a crash, may be done again under its key."""
_PATIENCE_SECONDS: Final = 10.0
_PAUSE_SECONDS: Final = 0.05

_logger = structlog.get_logger(__name__)

Perform = Callable[[], Awaitable[Response]]


def fingerprint(method: str, path: str, query: str, body: Any) -> str:
    """The same for the same request: of a body the JSON counts, not how it was written."""
    whole = msgspec.json.encode([method, path, query, body], order="deterministic")
    return hashlib.sha256(whole).hexdigest()


class Idempotency:
    """Keeps first answers for the doors."""

    def __init__(self, answers: FirstAnswers, sealer: Sealer, clock: Clock) -> None:
        self._answers = answers
        self._sealer = sealer
        self._clock = clock

    async def once(self, organization_id: str, key: str, print: str, perform: Perform) -> Response:
        """The first answer to the request of this key, given now or before. Raises `Invalid` for what is no key, and
        `ResourceConflict` for the key of another request, or of one that is still being answered."""
        if _KEY.fullmatch(key) is None:
            message = f"{HEADER}: must be 1 to 255 printable ASCII characters"
            raise Invalid([Problem(Code.VALIDATION_ERROR, message, HEADER)])
        known = await self._begin(organization_id, key, print)
        if known is not None:
            return await self._again(organization_id, key, known)
        try:
            response = await perform()
        except BaseException:
            await asyncio.shield(self._answers.drop(organization_id, key))
            raise
        await asyncio.shield(self._finish(organization_id, key, response))
        return response

    async def _begin(self, organization_id: str, key: str, print: str) -> FirstAnswer | None:
        """None where the request is to be done now. Waits for one that is under way."""
        waited = 0.0
        while True:
            now = self._clock.now()
            expires_at, lost = plus(now, KEPT_SECONDS), plus(now, -_LOST_SECONDS)
            known = await self._answers.begin(organization_id, key, print, now=now, expires_at=expires_at, lost=lost)
            if known is not None and known.fingerprint != print:
                raise ResourceConflict(f"the {HEADER} '{key}' was used for another request", HEADER)
            if known is None or known.status is not None:
                return known
            if waited >= _PATIENCE_SECONDS:
                raise ResourceConflict(f"the first request with the {HEADER} '{key}' is still being answered", HEADER)
            await asyncio.sleep(_PAUSE_SECONDS)
            waited += _PAUSE_SECONDS

    async def _again(self, organization_id: str, key: str, known: FirstAnswer) -> Response:
        assert known.status is not None
        try:
            body = await self._sealer.open(organization_id, known.sealed, _context(key))
        except Unsealable:
            raise ResourceConflict(
                f"the first answer to the {HEADER} '{key}' cannot be read any more", HEADER
            ) from None
        return Response(body.encode(), known.status, {REPLAYED: "true"}, media_type="application/json")

    async def _finish(self, organization_id: str, key: str, response: Response) -> None:
        """What failed on our side may be tried again. What was done is answered, also where that cannot be kept."""
        try:
            if response.status_code >= 500:
                return await self._answers.drop(organization_id, key)
            sealed = await self._sealer.seal(organization_id, bytes(response.body).decode(), _context(key))
            await self._answers.finish(organization_id, key, response.status_code, sealed)
        except (Unavailable, Unsealable) as error:
            _logger.warning("idempotency.not_kept", organization_id=organization_id, error=str(error))
        return None


def _context(key: str) -> str:
    return f"idempotency:{key}"
