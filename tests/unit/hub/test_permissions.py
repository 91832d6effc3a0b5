from __future__ import annotations

import pytest

from hub.auth.permissions import PERMISSIONS, ROLES, expanded, granted


def test_a_name_stands_for_itself_and_a_wildcard_for_all_of_its_resource() -> None:
    assert expanded("workflow.read") == {"workflow.read"}
    assert expanded("workflow.*") == {"workflow.read", "workflow.write", "workflow.execute"}
    assert expanded("event.*") == {"event.read", "event.replay"}


@pytest.mark.parametrize("name", ["", "*", "*.*", ".*", "work.*", "workflow", "workflow.", "Workflow.read", "a.b"])
def test_an_unknown_name_stands_for_nothing(name: str) -> None:
    assert expanded(name) == frozenset()


def test_a_role_and_a_list_add_up() -> None:
    assert granted(None, ()) == frozenset()
    assert granted("read_only", ("workflow.execute",)) == ROLES["read_only"] | {"workflow.execute"}
    assert granted("admin", ()) == PERMISSIONS


def test_roles_are_what_the_contract_says() -> None:
    assert {p for p in PERMISSIONS if p not in ROLES["read_write"]} == {"apikey.read", "apikey.write", "event.replay"}
    assert all(p.endswith(".read") for p in ROLES["read_only"])
    assert "apikey.read" not in ROLES["read_only"]
    assert len(PERMISSIONS) == 20
