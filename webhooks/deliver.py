"""One attempt of a delivery, from the claim to what it came to.

What the log has to say of it (`delivery.exhausted`, `webhook.disabled`) is appended before the delivery is settled,
under ids derived from the delivery: whoever dies in between leaves a lease that runs out, and doing it again says
nothing twice.
"""

from __future__ import annotations

import logging
import random
import time
from functools import partial
from typing import Final

from executor.domain.errors import Unavailable
from executor.domain.values import derived_id, moment
from executor.egress import Egress, EgressError, EgressRefused
from executor.handle import handle
from executor.ports import NEW, Clock, Deliveries, Delivery, EventLog, Metadata, NewEvent, Settled, StreamAppend
from executor.sealing import KeyForgotten, Unsealable
from webhooks import body, delivery, endpoint, signing
from webhooks.delivery import Judgement, Outcome, judge
from webhooks.directory import Directory
from webhooks.endpoint import State
from webhooks.facts import Facts
from webhooks.secrets import EndpointSecrets

MOST_KEPT_BYTES: Final = 16 * 1024
"""Of an answer: neither read nor kept beyond this."""

GONE_REASON: Final = "the receiver answered 410 Gone"

log = logging.getLogger(__name__)


class Attempts:
    """Makes attempts. Keeps nothing between them but what may be read again."""

    def __init__(
        self,
        log: EventLog,
        deliveries: Deliveries,
        directory: Directory,
        facts: Facts,
        secrets: EndpointSecrets,
        egress: Egress,
        clock: Clock,
    ) -> None:
        self._log, self._deliveries, self._directory = log, deliveries, directory
        self._facts, self._secrets, self._egress, self._clock = facts, secrets, egress, clock

    async def make(self, claimed: Delivery) -> Settled | None:
        """Sends once and answers what is to be settled; null where the endpoint is gone or off, and the delivery was
        cancelled instead. Raises only `Unavailable`, of the store."""
        state = await self._directory.current(claimed.webhook_id)
        if state is None or state.endpoint is None or not state.is_active:
            await self._deliveries.cancel_waiting(claimed.webhook_id, self._clock.now())
            return None
        outcome = await self._outcome(claimed, state)
        jitter = random.uniform(-1, 1)  # noqa: S311  (spreads retries; nobody gains by guessing it)
        judgement = judge(state.endpoint.retry_policy, claimed, outcome, self._clock.now(), jitter)
        await self._tell(claimed, judgement)
        return judgement.settled

    async def _outcome(self, claimed: Delivery, state: State) -> Outcome:
        started_at, started = self._clock.now(), time.monotonic()
        try:
            return await self._send(claimed, state)
        except Unavailable:
            raise
        except EgressRefused as error:
            said = f"not sent: {error}"
        except EgressError as error:
            said = str(error)
        except KeyForgotten as error:
            said = f"not sent: {error}"
        except Unsealable:
            said = "not sent: the endpoint's secrets cannot be opened; was SECRET_KEY changed?"
        except LookupError as error:
            said = f"not sent: {error}"
        except Exception:
            log.exception("attempt %d of delivery %s failed within", claimed.attempt_count, claimed.id)
            said = "not sent: an internal error, see the log"
        return Outcome(started_at=started_at, duration_ms=_ms(time.monotonic() - started), error=said)

    async def _send(self, claimed: Delivery, state: State) -> Outcome:
        if state.endpoint is None:
            raise LookupError("there is no endpoint")
        content = await self._body(claimed)
        started_at = self._clock.now()
        opened = await self._secrets.opened(state, started_at)
        signed = signing.headers(
            message_id=claimed.event_id if claimed.replay_id is None else claimed.id,
            delivery_id=claimed.id,
            event=claimed.event,
            attempt=claimed.attempt_count,
            timestamp=int(moment(started_at).timestamp()),
            body=content,
            secrets=opened.secrets,
            replay_id=claimed.replay_id,
        )
        reply = await self._egress.send(
            "POST",
            state.endpoint.url,
            headers=opened.headers | signed,
            body=content,
            timeout=state.endpoint.timeout_seconds,
            max_bytes=MOST_KEPT_BYTES,
        )
        return Outcome(
            started_at=started_at,
            duration_ms=_ms(reply.duration),
            status_code=reply.status,
            response_body=reply.body.decode(errors="replace").replace("\0", "\N{REPLACEMENT CHARACTER}"),
            retry_after=reply.headers.get("retry-after"),
        )

    async def _body(self, claimed: Delivery) -> bytes:
        if claimed.body is not None:
            return claimed.body
        recorded = None if claimed.position is None else await self._facts.at(claimed.position)
        if recorded is None:
            raise LookupError(f"the event at position {claimed.position} is not in the log any more")
        if not recorded.data:
            raise LookupError(f"the event at position {claimed.position} was archived")
        return body.encode(recorded, claimed.webhook_id, await self._facts.data(recorded), claimed.replay_id)

    async def _tell(self, claimed: Delivery, judgement: Judgement) -> None:
        if claimed.replay_id is not None:
            return  # What comes of a replay is the replay's alone: an event of it would go to everybody.
        metadata = Metadata(causation_id=claimed.event_id)
        if judgement.is_gone:
            await handle(
                self._log,
                self._clock,
                endpoint.stream(claimed.webhook_id),
                partial(endpoint.decide_disable, reason=GONE_REASON),
                organization_id=claimed.organization_id,
                metadata=metadata,
                ids=[derived_id(claimed.id, "gone", str(claimed.attempt_count))],
            )
        if judgement.exhausted is not None:
            told = StreamAppend(
                stream=delivery.stream(claimed.id),
                expected=NEW,
                state=delivery.Spent(),
                events=(NewEvent(derived_id(claimed.id, "exhausted"), judgement.exhausted),),
                organization_id=claimed.organization_id,
            )
            await self._log.append((told,), metadata)


def _ms(seconds: float) -> int:
    return round(seconds * 1000)
