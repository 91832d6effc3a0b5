from __future__ import annotations

import pytest

from hub.client import Misused, WorkflowClient
from hub.client.address import api_url, socket_url


@pytest.mark.parametrize(
    ("written", "api", "socket"),
    [
        ("http://127.0.0.1:8000", "http://127.0.0.1:8000/api/v1", "ws://127.0.0.1:8000/api/v1/ws"),
        ("https://hub.example/api/v1/", "https://hub.example/api/v1", "wss://hub.example/api/v1/ws"),
        (
            " https://hub.example/runcast/ ",
            "https://hub.example/runcast/api/v1",
            "wss://hub.example/runcast/api/v1/ws",
        ),
        ("http://[::1]:80", "http://[::1]:80/api/v1", "ws://[::1]:80/api/v1/ws"),
    ],
)
def test_a_hub_is_found_however_it_is_written(written: str, api: str, socket: str) -> None:
    assert (api_url(written), socket_url(api_url(written))) == (api, socket)


@pytest.mark.parametrize(
    "written", ["127.0.0.1:8000", "ws://x", "http://", "http://x:0", "http://x:99999", "http://[x", "http://x/?a=1"]
)
def test_what_is_no_url_of_a_hub_is_refused(written: str) -> None:
    with pytest.raises(Misused, match="base_url"):
        api_url(written)


def test_credentials_in_a_url_are_refused_and_not_repeated() -> None:
    with pytest.raises(Misused, match="no credentials") as error:
        api_url("https://ada:secret@hub.example")
    assert "secret" not in str(error.value)


def test_the_environment_says_what_is_not_said(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RUNCAST_URL", "http://hub.example")
    monkeypatch.delenv("RUNCAST_API_KEY", raising=False)
    with pytest.raises(Misused, match="api_key: say who asks, or set RUNCAST_API_KEY"):
        WorkflowClient()
    monkeypatch.setenv("RUNCAST_API_KEY", "sk_test_x")
    assert repr(WorkflowClient()) == "WorkflowClient('http://hub.example/api/v1')"
    monkeypatch.delenv("RUNCAST_URL")
    with pytest.raises(Misused, match="base_url: say which hub, or set RUNCAST_URL"):
        WorkflowClient()


@pytest.mark.parametrize("key", ["with\nnewline", "ünicode"])
def test_what_cannot_be_sent_as_a_key_is_refused_and_not_repeated(key: str) -> None:
    with pytest.raises(Misused) as error:
        WorkflowClient("http://hub.example", key)
    assert str(key) not in str(error.value)
