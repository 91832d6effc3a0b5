"""The webhook of a run: `webhook_callback_url` of an execution is an endpoint like others, one for each URL of an
organization, which hears only how the runs end that named it."""

from __future__ import annotations

from typing import Final, NamedTuple

from msgspec import structs

from executor.domain.errors import Code, Invalid, Problem, ResourceConflict
from executor.domain.values import derived_id
from executor.egress import Egress
from executor.ports import Clock, EventLog, NewEvent, Reads, StreamAppend
from executor.sealing import Sealer
from webhooks import endpoint
from webhooks.commands import require_room
from webhooks.requests import CreateWebhook
from webhooks.secrets import EndpointSecrets
from webhooks.signing import new_secret

FIELD: Final = "webhook_callback_url"


class Callback(NamedTuple):
    """The endpoint of a URL. Where there was none: what creates it, to append with the run, and its secret in clear,
    to show once."""

    webhook_id: str
    creation: StreamAppend | None = None
    secret: str | None = None


class Callbacks:
    def __init__(self, log: EventLog, reads: Reads, sealer: Sealer, egress: Egress, clock: Clock) -> None:
        self._log, self._reads = log, reads
        self._secrets, self._egress, self._clock = EndpointSecrets(sealer), egress, clock

    async def of(self, organization_id: str, url: str) -> Callback:
        """Raises `Invalid` for a URL that no webhook may have, `ResourceConflict` where its endpoint is off."""
        id = derived_id(organization_id, "callback", url)
        name = endpoint.stream(id)
        state, version = await self._log.load(name)
        if isinstance(state, endpoint.State) and state.endpoint is not None and not state.deleted:
            if state.is_active:
                return Callback(id)
            said = f"the webhook of this URL, {id}, is not active; POST /webhooks/{id}/enable switches it on"
            raise ResourceConflict(said, FIELD)
        if problems := await self._egress.check_reachable(url):
            raise Invalid([Problem(Code.VALIDATION_ERROR, each, FIELD) for each in problems])
        await require_room(self._reads, organization_id)
        secret = new_secret()
        request = CreateWebhook(url=url, events=tuple(sorted(endpoint.ENDS)))
        change = await self._secrets.sealed(organization_id, id, request, secret)
        events = endpoint.decide_create(state, structs.replace(change, is_callback=True))
        creation = StreamAppend(
            stream=name,
            expected=version,
            state=state,
            events=tuple(NewEvent(self._clock.new_id(), event) for event in events),
            organization_id=organization_id,
        )
        return Callback(id, creation, secret)
