from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
import pytest_asyncio

from executor.clock import SystemClock
from executor.domain.errors import Invalid
from executor.domain.values import plus
from executor.ports import Metadata, NameTaken
from executor.sealing import SecretKey
from hub.auth.apikeys import ApiKeyRow, new_key
from hub.auth.authenticate import Authenticator
from hub.auth.permissions import PERMISSIONS, ROLES
from hub.credentials import (
    Credentials,
    FirstKey,
    WrongSecretKey,
    credentials_path,
    ensure_first_key,
    read_credentials,
    secret_key,
)
from hub.keys import check_grant, create_key, organization_named
from hub.settings import Settings
from hub.wiring import opened_store
from storage.sqlite.store import SqliteStore

CLOCK = SystemClock()


@pytest_asyncio.fixture
async def opened(tmp_path: Path) -> AsyncIterator[tuple[SqliteStore, SecretKey]]:
    async with opened_store(Settings(data_dir=tmp_path), CLOCK) as pair:
        yield pair


def test_what_may_be_granted() -> None:
    assert check_grant("admin", ["workflow.*"]) == []
    assert check_grant("read_only", ["workflow.execute"], ROLES["read_write"]) == []
    wrong = check_grant("owner", ["workflow.fly", "apikey.read"], PERMISSIONS - {"apikey.read"})
    assert [(problem.code, problem.field) for problem in wrong] == [
        ("VALIDATION_ERROR", "role"),
        ("VALIDATION_ERROR", "permissions[0]"),
        ("AUTHORIZATION_ERROR", "permissions[1]"),
    ]
    (lacking,) = check_grant("admin", [], PERMISSIONS - {"event.replay"})
    assert "event.replay" in lacking.message


async def test_an_organization_is_made_once(opened: tuple[SqliteStore, SecretKey]) -> None:
    store, key = opened
    acme = await organization_named(store, CLOCK, key, "acme")
    assert await organization_named(store, CLOCK, key, "acme") == acme
    assert (await organization_named(store, CLOCK, key, "Acme")).id != acme.id


async def test_a_key_is_recorded_by_its_digest_and_only_once(opened: tuple[SqliteStore, SecretKey]) -> None:
    store, secret = opened
    text, organization = new_key(), CLOCK.new_id()
    state = await create_key(store, CLOCK, secret, organization, Metadata(), name="a", key=text, role="admin")
    row = await store.reads.get(ApiKeyRow, secret.digest(text))
    assert row is not None
    assert (row.id, row.organization_id) == (state.id, organization)
    assert await store.reads.get(ApiKeyRow, SecretKey.from_text("another").digest(text)) is None
    with pytest.raises(NameTaken):
        await create_key(store, CLOCK, secret, organization, Metadata(), name="b", key=text, role="admin")


async def test_every_problem_of_a_key_comes_at_once(opened: tuple[SqliteStore, SecretKey]) -> None:
    store, secret = opened
    with pytest.raises(Invalid) as raised:
        await create_key(
            store, CLOCK, secret, "o", Metadata(), name="a", key=new_key(), permissions=("x",), expires_at=CLOCK.now()
        )
    assert [problem.field for problem in raised.value.problems] == ["permissions[0]", "expires_at"]
    assert store.log.head == 0


async def test_who_a_key_belongs_to(opened: tuple[SqliteStore, SecretKey]) -> None:
    store, secret = opened
    authenticator, text = Authenticator(store, secret, CLOCK), new_key()
    acme = await organization_named(store, CLOCK, secret, "acme")
    await create_key(
        store,
        CLOCK,
        secret,
        acme.id,
        Metadata(),
        name="a",
        key=text,
        permissions=("workflow.*",),
        expires_at=plus(CLOCK.now(), 3600),
    )
    principal = await authenticator.authenticate(text)
    assert principal is not None
    assert (principal.organization_name, principal.name) == ("acme", "a")
    assert principal.allows("workflow.execute")
    assert not principal.allows("event.read")
    assert principal.actor == f"api_key:{principal.id}"
    for other in (new_key(), text[:-1], text + "a", "", "é"):
        assert await authenticator.authenticate(other) is None
    assert list(await authenticator.last_used([principal.id, "another"])) == [principal.id]


async def test_the_first_key_is_made_kept_and_found_again(
    tmp_path: Path, opened: tuple[SqliteStore, SecretKey]
) -> None:
    store, secret = opened
    settings = Settings(data_dir=tmp_path)
    first, is_new = await ensure_first_key(store, CLOCK, secret, settings)
    assert is_new
    assert read_credentials(tmp_path) == first
    again, is_new = await ensure_first_key(store, CLOCK, secret, settings)
    assert (again, is_new) == (first, False)
    assert store.log.head == 1
    assert first.api_key not in repr(first)


async def test_a_given_first_key_is_recorded_and_not_written_down(
    tmp_path: Path, opened: tuple[SqliteStore, SecretKey]
) -> None:
    store, secret = opened
    text = new_key()
    for _ in range(2):
        credentials, is_new = await ensure_first_key(
            store, CLOCK, secret, Settings(data_dir=tmp_path, bootstrap_api_key=text)
        )
        assert (credentials.api_key, is_new) == (text, False)
    assert store.log.head == 1
    assert not credentials_path(tmp_path).exists()


async def test_kept_credentials_of_another_log_are_recorded_in_this_one(
    tmp_path: Path, opened: tuple[SqliteStore, SecretKey]
) -> None:
    store, secret = opened
    kept = Credentials(api_key=new_key(), organization_id="another")
    credentials_path(tmp_path).write_text(f'{{"api_key": "{kept.api_key}", "organization_id": "another"}}')
    found, is_new = await ensure_first_key(store, CLOCK, secret, Settings(data_dir=tmp_path))
    assert (found.api_key, is_new) == (kept.api_key, False)
    assert found.organization_id != "another"
    assert read_credentials(tmp_path) == found


def test_unreadable_credentials_are_none(tmp_path: Path) -> None:
    assert read_credentials(tmp_path) is None
    credentials_path(tmp_path).write_text("{")
    assert read_credentials(tmp_path) is None


def test_the_secret_key_is_made_once_for_its_owner_only(tmp_path: Path) -> None:
    settings, kept = Settings(data_dir=tmp_path), tmp_path / "secret.key"
    with pytest.raises(WrongSecretKey, match="is not there"):
        secret_key(settings, is_new=False)
    made = secret_key(settings, is_new=True)
    assert secret_key(settings, is_new=False).digest("x") == made.digest("x")
    assert kept.stat().st_mode & 0o077 == 0
    given = secret_key(Settings(data_dir=tmp_path, secret_key="given"), is_new=False)
    assert given.digest("x") != made.digest("x")
    for nonsense in (b"", b"\n", b"\xff\xfe"):
        kept.write_bytes(nonsense)
        with pytest.raises(WrongSecretKey, match="does not hold a key"):
            secret_key(settings, is_new=True)


async def test_of_many_processes_that_make_a_secret_key_at_once_one_does(tmp_path: Path) -> None:
    settings = Settings(data_dir=tmp_path)
    keys = await asyncio.gather(*(asyncio.to_thread(secret_key, settings, is_new=True) for _ in range(20)))
    assert len({key.digest("x") for key in keys}) == 1
    assert os.listdir(tmp_path) == ["secret.key"]


async def test_another_secret_key_than_that_of_the_first_start_is_refused(tmp_path: Path) -> None:
    settings = Settings(data_dir=tmp_path, secret_key="one")
    async with opened_store(settings, CLOCK) as (store, secret):
        await ensure_first_key(store, CLOCK, secret, settings)
    with pytest.raises(WrongSecretKey, match="is not the one"):
        async with opened_store(Settings(data_dir=tmp_path, secret_key="other"), CLOCK):
            pass
    with pytest.raises(WrongSecretKey, match="is not there"):
        async with opened_store(Settings(data_dir=tmp_path), CLOCK):
            pass


async def test_on_a_shared_store_the_first_process_says_what_the_secret_key_is_and_one_makes_the_admin_key(
    tmp_path: Path, postgres_url: str
) -> None:
    def settings(name: str, secret_key: str | None = "one") -> Settings:
        return Settings(data_dir=tmp_path / name, database_url=postgres_url, secret_key=secret_key)

    async def first_key(name: str) -> FirstKey:
        async with opened_store(settings(name), CLOCK) as (store, secret):
            return await ensure_first_key(store, CLOCK, secret, settings(name))

    async with opened_store(settings("executor"), CLOCK):
        pass
    for other, why in ((settings("web", "other"), "is not the one"), (settings("web", None), "is not there")):
        with pytest.raises(WrongSecretKey, match=why):
            async with opened_store(other, CLOCK):
                pass
    made = await asyncio.gather(*(first_key(f"web {number}") for number in range(4)))
    assert sorted(key.is_new for key in made) == [False, False, False, True]
    assert sum(key.credentials is not None for key in made) == 1
