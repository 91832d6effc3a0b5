"""What has to be looked at now and then: endpoints that have failed for days, leases that no clock explains, counts
that nobody asks for any more.

Any number of processes may sweep: what each does twice changes nothing.
"""

from __future__ import annotations

import asyncio
import logging
from functools import partial
from typing import Final

from executor.domain.errors import NotFound, Unavailable
from executor.domain.values import moment, plus
from executor.handle import handle
from executor.ports import Clock, Deliveries, EndpointState, EventLog, Metadata
from webhooks import endpoint
from webhooks.directory import Directory
from webhooks.stats import DAY_SECONDS, FAILING_DAYS, HOUR

_KEPT_DAYS: Final = 8
"""For which attempts stay counted by the hour: the longest period that is shown, and the hours that it cuts."""
_SWEEP_SECONDS: Final = 60.0
_LEASES: Final = 10
"""So many lives of a lease ahead of now, none was ever given: the clock has stepped back since."""
_SYSTEM: Final = Metadata(actor="system")

log = logging.getLogger(__name__)


class Sweep:
    def __init__(
        self, log: EventLog, deliveries: Deliveries, directory: Directory, clock: Clock, lease_seconds: float
    ) -> None:
        self._log, self._deliveries, self._directory, self._clock = log, deliveries, directory, clock
        self._lease_seconds = lease_seconds
        self._counted_since = ""

    async def run(self) -> None:
        """Goes on until it is cancelled; a store that is away only delays it."""
        while True:
            try:
                await self.once()
            except Unavailable as error:
                log.warning("the sweep of webhooks waits for the store: %s", error)
            except Exception:
                log.exception("the sweep of webhooks failed")
            await asyncio.sleep(_SWEEP_SECONDS)

    async def once(self) -> None:
        now = self._clock.now()
        await self._deliveries.release_stray(now, plus(now, _LEASES * self._lease_seconds))
        for state in await self._deliveries.failing(plus(now, -FAILING_DAYS * DAY_SECONDS)):
            if has_failed_for_days(state):
                await self._disable(state)
        oldest = plus(now, -_KEPT_DAYS * DAY_SECONDS)[:HOUR]
        if oldest != self._counted_since:
            await self._deliveries.sweep_counts(oldest)
            self._counted_since = oldest

    async def _disable(self, failed: EndpointState) -> None:
        """Switches an endpoint off, and says so in the log, which is cast to everybody who watches."""
        known = await self._directory.current(failed.webhook_id)
        if known is not None and known.is_active:
            try:
                await handle(
                    self._log,
                    self._clock,
                    endpoint.stream(failed.webhook_id),
                    partial(endpoint.decide_disable, reason=reason(failed)),
                    organization_id=known.organization_id,
                    metadata=_SYSTEM,
                )
            except NotFound:
                log.debug("webhook %s was deleted meanwhile", failed.webhook_id)
        await self._deliveries.forgive(failed.webhook_id)


def has_failed_for_days(state: EndpointState) -> bool:
    """Whether its last failure is so long after the first since its last success: one that was tried once and then
    never again has not failed for days."""
    if state.failing_since is None or state.last_failure_at is None:
        return False
    return (moment(state.last_failure_at) - moment(state.failing_since)).total_seconds() >= FAILING_DAYS * DAY_SECONDS


def reason(failed: EndpointState) -> str:
    """Why, and the way back."""
    id, since = failed.webhook_id, failed.failing_since
    return (
        f"every delivery since {since} failed, for {FAILING_DAYS} days. Once it answers, "
        f"POST /api/v1/webhooks/{id}/enable switches it on, and "
        f'POST /api/v1/webhooks/{id}/recover {{"since": "{since}", "what": "undelivered"}} sends what it missed'
    )
