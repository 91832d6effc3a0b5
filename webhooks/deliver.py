"""One attempt of a delivery, from the claim to what it came to.

What the log has to say of it (`delivery.exhausted`, `webhook.disabled`) is appended before the delivery is settled,
under ids derived from the delivery: whoever dies in between leaves a lease that runs out, and doing it again says
nothing twice.
"""

from __future__ import annotations

import asyncio
import logging
import random
import time
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Final, NamedTuple

import msgspec

from executor.domain.errors import Unavailable
from executor.domain.events.webhook import Endpoint
from executor.domain.secrets import REDACTED, redact
from executor.domain.values import Instant, derived_id, moment, seconds_between
from executor.egress import Egress, EgressError, EgressRefused, Reply
from executor.exchange import Timings
from executor.handle import Decide, handle
from executor.ports import CUT_OFF, Clock, Deliveries, Delivery, EventLog, Metadata, Settled
from executor.sealing import KeyForgotten, Unsealable
from webhooks import body, delivery, endpoint, signing
from webhooks.delivery import Judgement, Outcome, held_seconds, judge
from webhooks.endpoint import State
from webhooks.facts import Facts, Kept
from webhooks.oauth2 import Grant, Tokens
from webhooks.secrets import EndpointSecrets, Opened

MOST_KEPT_BYTES: Final = 16 * 1024
"""Of an answer: neither read nor kept beyond this."""

GONE_REASON: Final = "the receiver answered 410 Gone"

DELETED: Final = "the webhook was deleted"
STOPPED: Final = "this process was told to end"
"""Messages of a cancellation that cuts an attempt off, and leaves it to be written where it was sent."""

INTERNAL: Final = "internal"
"""The class of an error that is ours."""

_UNAUTHORIZED = 401
_SHORTEST_SECONDS = 0.001
_TRUSTED_SECONDS = 2.0
_KEPT_OPENED = 1000
_SHORTEST_HIDDEN = 6
"""A shorter text may stand anywhere by chance."""
_ENCODER = msgspec.json.Encoder()

log = logging.getLogger(__name__)


class Attempts:
    """Makes attempts. Keeps nothing between them but what may be read again."""

    def __init__(
        self,
        log: EventLog,
        deliveries: Deliveries,
        facts: Facts,
        secrets: EndpointSecrets,
        egress: Egress,
        clock: Clock,
    ) -> None:
        self._log, self._deliveries = log, deliveries
        self._facts, self._secrets, self._egress, self._clock = facts, secrets, egress, clock
        self._tokens = Tokens(egress)
        self._kept: Kept[tuple[str, int, str], tuple[Opened, float]] = Kept(_KEPT_OPENED)

    async def close(self) -> None:
        await self._tokens.close()

    async def make(self, claimed: Delivery, state: State, is_held: Callable[[], bool]) -> Made | None:
        """Sends once to the endpoint as it is now; null where it is gone or off, and the delivery was cancelled
        instead, and where nothing was sent because the delivery is not held any more. Raises only `Unavailable`, of
        the store."""
        if state.endpoint is None or not state.is_active:
            # Only this one: the endpoint may be on again by now, and have deliveries of that time.
            await self._deliveries.drop([claimed], self._clock.now())
            return None
        sending = _Sending(self._clock.now(), is_held)
        try:
            outcome = await self._outcome(claimed, state, state.endpoint, sending)
        except Lapsed:
            log.info("delivery %s is another's by now; attempt %d is not made", claimed.id, claimed.attempt_count)
            return None
        jitter = random.uniform(-1, 1)  # noqa: S311  (spreads retries; nobody gains by guessing it)
        now = self._clock.now()
        judgement = judge(state.endpoint.retry_policy, claimed, outcome, now, jitter)
        await self._tell(claimed, judgement)
        return Made(judgement.settled, held_seconds(outcome, now), sending.event_time)

    async def _outcome(self, claimed: Delivery, state: State, target: Endpoint, sending: _Sending) -> Outcome:
        try:
            return await self._send(claimed, state, target, sending)
        except (Unavailable, Lapsed):
            raise
        except asyncio.CancelledError as cancelled:
            if cancelled.args != (DELETED,) and not (cancelled.args == (STOPPED,) and sending.is_sent):
                raise
            return sending.failed(f"cut off: {cancelled.args[0]}", CUT_OFF)
        except EgressRefused as error:
            return sending.failed(f"not sent: {error}", error.kind, error.timings)
        except EgressError as error:
            return sending.failed(str(error), error.kind, error.timings)
        except KeyForgotten as error:
            return sending.failed(f"not sent: {error}")
        except Unsealable:
            return sending.failed("not sent: the endpoint's secrets cannot be opened; was SECRET_KEY changed?")
        except LookupError as error:
            return sending.failed(f"not sent: {error}")
        except Exception:
            log.exception("attempt %d of delivery %s failed within", claimed.attempt_count, claimed.id)
            return sending.failed("not sent: an internal error, see the log")

    async def _send(self, claimed: Delivery, state: State, target: Endpoint, sending: _Sending) -> Outcome:
        content = await self._body(claimed, sending)
        opened = await self._opened(state)
        token = await self._token(state, target, opened)
        signed = signing.headers(
            message_id=claimed.event_id if claimed.replay_id is None else claimed.id,
            delivery_id=claimed.id,
            event=claimed.event,
            attempt=claimed.attempt_count,
            timestamp=int(moment(sending.started_at).timestamp()),
            body=content,
            secrets=opened.secrets,
            replay_id=claimed.replay_id,
        )
        if not sending.is_held():
            raise Lapsed
        secret = opened.headers | token
        sending.headers = signed | dict.fromkeys(secret, REDACTED)
        reply = await self._egress.send(
            "POST",
            target.url,
            headers=secret | signed,
            body=content,
            timeout=max(_SHORTEST_SECONDS, target.timeout_seconds - sending.seconds()),
            max_bytes=MOST_KEPT_BYTES,
        )
        if token and reply.status == _UNAUTHORIZED:
            self._tokens.forget((state.id, state.version))
        return sending.answered(reply, _hidden(secret))

    async def _token(self, state: State, target: Endpoint, opened: Opened) -> dict[str, str]:
        """The header of an endpoint that wants one of OAuth 2.0; to get it is a part of the attempt and its time."""
        asked = target.authentication.grant
        if asked is None or opened.client_secret is None:
            return {}
        grant = Grant(
            token_url=asked.token_url,
            client_id=target.authentication.name or "",
            client_secret=opened.client_secret,
            scope=asked.scope,
            audience=asked.audience,
            client_auth="body" if asked.client_auth == "body" else "basic",
        )
        token = await self._tokens.token((state.id, state.version), grant, target.timeout_seconds)
        return {"Authorization": f"Bearer {token}"}

    async def _opened(self, state: State) -> Opened:
        """What is secret in an endpoint is opened once for many attempts: while its organization's key is the same,
        and not for long, since a retired secret ends."""
        key = (state.id, state.version, await self._secrets.key_in_use(state))
        now, kept = time.monotonic(), self._kept.get(key)
        if kept is None or now >= kept[1]:
            at = self._clock.now()
            kept = (await self._secrets.opened(state, at), now + min([_TRUSTED_SECONDS, *_until_retired(state, at)]))
            self._kept.keep(key, kept)
        return kept[0]

    async def _body(self, claimed: Delivery, sending: _Sending) -> bytes:
        if claimed.body is not None:
            return claimed.body
        recorded = None if claimed.position is None else await self._facts.at(claimed.position)
        if recorded is None:
            raise LookupError(f"the event at position {claimed.position} is not in the log any more")
        if not recorded.data:
            raise LookupError(f"the event at position {claimed.position} was archived")
        if claimed.replay_id is None:
            sending.event_time = recorded.time
        return body.encode(recorded, claimed.webhook_id, await self._facts.data(recorded), claimed.replay_id)

    async def _tell(self, claimed: Delivery, judgement: Judgement) -> None:
        if claimed.replay_id is not None:
            return  # What comes of a replay is the replay's alone: an event of it would go to everybody.
        if judgement.is_gone:
            await self._append(
                claimed,
                endpoint.stream(claimed.webhook_id),
                partial(endpoint.decide_disable, reason=GONE_REASON),
                derived_id(claimed.id, "gone", str(claimed.attempt_count)),
            )
        if judgement.exhausted is not None:
            times = (str(claimed.forgiven),) if claimed.forgiven else ()
            await self._append(
                claimed,
                delivery.stream(claimed.id),
                partial(delivery.decide_exhausted, event=judgement.exhausted, forgiven=claimed.forgiven),
                derived_id(claimed.id, "exhausted", *times),
            )

    async def _append(self, claimed: Delivery, stream: str, decide: Decide, id: str) -> None:
        await handle(
            self._log,
            self._clock,
            stream,
            decide,
            organization_id=claimed.organization_id,
            metadata=Metadata(causation_id=claimed.event_id),
            ids=[id],
        )


class Lapsed(Exception):
    """The lease ran out before anything was sent: this process was away, and another may be sending it."""


class Made(NamedTuple):
    """What is to be settled of an attempt; for how many seconds the receiver asks to be left alone; and the time of
    the event, for what is live."""

    settled: Settled
    held_seconds: float | None
    event_time: Instant | None


class _Sending:
    """One request on its way, and the outcome that comes of it."""

    def __init__(self, started_at: Instant, is_held: Callable[[], bool]) -> None:
        self.started_at = started_at
        self.is_held = is_held
        self.headers: dict[str, str] | None = None
        self.event_time: Instant | None = None
        self._started = time.monotonic()

    @property
    def is_sent(self) -> bool:
        """Or about to be."""
        return self.headers is not None

    def seconds(self) -> float:
        """Since it began."""
        return time.monotonic() - self._started

    def answered(self, reply: Reply, hidden: Sequence[str]) -> Outcome:
        """`hidden` stands nowhere in what is kept: a receiver may answer with what it was sent."""
        text = reply.body.decode(errors="replace").replace("\0", "\N{REPLACEMENT CHARACTER}")
        return Outcome(
            started_at=self.started_at,
            duration_ms=_ms(self.seconds()),
            status_code=reply.status,
            response_body=redact(text, hidden),
            retry_after=reply.headers.get("retry-after"),
            request_headers=self._shown(),
            timings=_json(reply.timings),
        )

    def failed(self, error: str, kind: str = INTERNAL, timings: Timings | None = None) -> Outcome:
        return Outcome(
            started_at=self.started_at,
            duration_ms=_ms(self.seconds()),
            error=error,
            error_class=str(kind),
            request_headers=self._shown(),
            timings=None if timings is None else _json(timings),
        )

    def _shown(self) -> str | None:
        return None if self.headers is None else _json(self.headers)


def _until_retired(state: State, now: Instant) -> list[float]:
    """In how many seconds each of the secrets that still sign beside the newest ends."""
    retired = () if state.endpoint is None else state.endpoint.retired
    return [seconds_between(now, old.expires_at) for old in retired if now < old.expires_at]


def _hidden(headers: Mapping[str, str]) -> list[str]:
    """The values of secret headers, a credential also without its scheme, and each as JSON writes it."""
    values = {part for value in headers.values() for part in (value, value.partition(" ")[2])}
    values |= {_ENCODER.encode(value).decode()[1:-1] for value in values}
    return [value for value in values if len(value) >= _SHORTEST_HIDDEN]


def _json(value: dict[str, str] | Timings) -> str:
    return _ENCODER.encode(value).decode()


def _ms(seconds: float) -> int:
    return round(seconds * 1000)
