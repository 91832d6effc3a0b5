from __future__ import annotations

import asyncio

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from executor.domain.secrets import redact
from executor.domain.values import Instant
from executor.ports import Organization
from executor.sealing import KeyForgotten, Sealer, SecretKey, Unsealable

ACME, OTHER = "01ARZ3NDEKTSV4RRFFQ69G5FAV", "01ARZ3NDEKTSV4RRFFQ69G5FAW"


class Ledger:
    """The organizations of one installation, as plain values."""

    def __init__(self, key: SecretKey) -> None:
        self.asked = 0
        self._held = {
            id: Organization(
                id=id,
                name=id,
                sealed_key=key.new_organization_key(id),
                created_at=Instant("2026-01-01T00:00:00.000Z"),
            )
            for id in (ACME, OTHER)
        }

    async def get(self, id: str) -> Organization | None:
        self.asked += 1
        return self._held.get(id)

    async def by_name(self, name: str) -> Organization | None:
        return self._held.get(name)

    async def add(self, organization: Organization) -> Organization:
        return self._held.setdefault(organization.id, organization)

    async def all(self) -> list[Organization]:
        return sorted(self._held.values(), key=lambda each: each.name)

    async def replace_key(self, id: str, former: str, sealed_key: str) -> bool:
        held = self._held[id]
        self._held[id] = msgspec.structs.replace(held, sealed_key=sealed_key)
        return held.sealed_key == former


@pytest.fixture
def key() -> SecretKey:
    return SecretKey.from_text("a text that nobody guesses")


@pytest.fixture
def ledger(key: SecretKey) -> Ledger:
    return Ledger(key)


@pytest.fixture
def sealer(key: SecretKey, ledger: Ledger) -> Sealer:
    return Sealer(key, ledger)


async def test_what_is_sealed_opens_again(sealer: Sealer) -> None:
    sealed = await sealer.seal(ACME, "pässword\0", "webhook:1:secret")
    assert redact(f"a {sealed} b") == "a [REDACTED] b"
    assert await sealer.open(ACME, sealed, "webhook:1:secret") == "pässword\0"


async def test_sealing_twice_gives_two_texts_and_asks_for_the_key_once(sealer: Sealer, ledger: Ledger) -> None:
    assert await sealer.seal(ACME, "x", "c") != await sealer.seal(ACME, "x", "c")
    assert ledger.asked == 1


async def test_a_sealed_text_does_not_open_for_another_context(sealer: Sealer) -> None:
    sealed = await sealer.seal(ACME, "x", "webhook:1:secret")
    with pytest.raises(Unsealable, match="webhook:2:secret"):
        await sealer.open(ACME, sealed, "webhook:2:secret")


async def test_a_sealed_text_does_not_open_for_another_organization(sealer: Sealer) -> None:
    sealed = await sealer.seal(ACME, "x", "c")
    with pytest.raises(Unsealable):
        await sealer.open(OTHER, sealed, "c")


async def test_an_unknown_organization_is_named(sealer: Sealer) -> None:
    with pytest.raises(Unsealable, match="'nobody' is unknown"):
        await sealer.seal("nobody", "x", "c")


async def test_another_secret_key_opens_nothing_and_says_why(sealer: Sealer, ledger: Ledger) -> None:
    sealed = await sealer.seal(ACME, "hunter2", "c")
    wrong = Sealer(SecretKey.from_text("another text"), ledger)
    with pytest.raises(Unsealable, match="another SECRET_KEY") as caught:
        await wrong.open(ACME, sealed, "c")
    assert "hunter2" not in str(caught.value)
    assert sealed not in str(caught.value)


@pytest.mark.parametrize("at", [10, 14, 30, -3])
async def test_an_altered_text_does_not_open(sealer: Sealer, at: int) -> None:
    sealed = await sealer.seal(ACME, "x" * 20, "c")
    altered = list(sealed)
    altered[at] = "A" if altered[at] != "A" else "B"
    with pytest.raises(Unsealable):
        await sealer.open(ACME, "".join(altered), "c")


@pytest.mark.parametrize("text", ["", "plain", "sealed:v1:", "sealed:v1:!!!", "sealed:v1:AAAA", "sealed:v2:AAAA"])
async def test_what_is_no_sealed_text_is_refused(sealer: Sealer, text: str) -> None:
    with pytest.raises(Unsealable):
        await sealer.open(ACME, text, "c")


def test_an_empty_secret_key_is_refused() -> None:
    with pytest.raises(ValueError, match="empty"):
        SecretKey.from_text("")


def test_the_digest_is_stable_under_one_key_and_another_under_another(key: SecretKey) -> None:
    assert key.digest("sk_live_x") == SecretKey.from_text("a text that nobody guesses").digest("sk_live_x")
    assert key.digest("sk_live_x") != SecretKey.from_text("other").digest("sk_live_x")
    assert len(bytes.fromhex(key.digest("sk_live_x"))) == 32


async def test_no_repr_shows_a_key(key: SecretKey, sealer: Sealer) -> None:
    await sealer.seal(ACME, "x", "c")
    assert repr(key) == "SecretKey([REDACTED])"
    assert "[REDACTED]" in repr(sealer)
    assert "a text" not in repr(key) + repr(sealer)


class Seconds:
    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now


async def test_a_key_that_was_forgotten_here_is_not_used_again(
    sealer: Sealer, key: SecretKey, ledger: Ledger
) -> None:
    sealed = await sealer.seal(ACME, "x", "c")
    await ledger.replace_key(ACME, "", "")
    sealer.forget(ACME)
    for use in (sealer.open(ACME, sealed, "c"), sealer.seal(ACME, "y", "c")):
        with pytest.raises(KeyForgotten, match=f"'{ACME}' was forgotten"):
            await use
    other = await sealer.seal(OTHER, "x", "c")
    assert await sealer.open(OTHER, other, "c") == "x"


async def test_a_key_that_was_forgotten_elsewhere_is_forgotten_within_seconds(key: SecretKey, ledger: Ledger) -> None:
    seconds = Seconds()
    sealer = Sealer(key, ledger, seconds)
    sealed = await sealer.seal(ACME, "x", "c")
    await ledger.replace_key(ACME, "", "")
    seconds.now = 1.9
    assert await sealer.open(ACME, sealed, "c") == "x"
    seconds.now = 2.0
    with pytest.raises(KeyForgotten):
        await sealer.open(ACME, sealed, "c")


async def test_under_a_new_key_things_are_sealed_again_and_the_old_ones_stay_lost(
    sealer: Sealer, key: SecretKey, ledger: Ledger
) -> None:
    lost = await sealer.seal(ACME, "x", "c")
    await ledger.replace_key(ACME, "", key.new_organization_key(ACME))
    sealer.forget(ACME)
    sealed = await sealer.seal(ACME, "y", "c")
    assert await sealer.open(ACME, sealed, "c") == "y"
    with pytest.raises(Unsealable, match="was forgotten"):
        await sealer.open(ACME, lost, "c")


@given(st.text(), st.text())
def test_any_text_opens_again_in_any_context(plain: str, context: str) -> None:
    key = SecretKey.from_text("k")
    sealer = Sealer(key, Ledger(key))

    async def there_and_back() -> str:
        return await sealer.open(ACME, await sealer.seal(ACME, plain, context), context)

    assert asyncio.run(there_and_back()) == plain
