from __future__ import annotations

from ipaddress import ip_network
from pathlib import Path

import pytest

from hub.settings import Settings, SettingsError, from_environment, misspelt

KEY = "sk_test_" + "a" * 32


def read(**environ: str) -> Settings:
    return from_environment({f"RUNCAST_{name}": value for name, value in environ.items()})


def test_nothing_set_is_a_hub_for_this_machine() -> None:
    assert read() == Settings(data_dir=Path("runcast-data"), host="127.0.0.1", port=8000)
    assert read().is_loopback


def test_each_setting_is_read() -> None:
    settings = read(
        HOST="0.0.0.0",
        PORT="0",
        METRICS_PORT="9100",
        DATABASE_URL="sqlite:///a.db",
        REDIS_URL="redis://h",
        SECRET_KEY="any text",
        BOOTSTRAP_API_KEY=KEY,
        LOG_LEVEL="wArNiNg",
        EGRESS_ALLOW="10.0.0.0/8, 192.168.1.7,::1,",
        EGRESS_PROXY="http://u:p@proxy:3128",
        ALLOWED_ORIGINS="https://a.example, http://b.example:8080,http://[::1]:3000",
        MAX_BODY_BYTES="2048",
        MAX_CONNECTIONS="1",
        MAX_SUBSCRIPTIONS="2",
        MAX_FILTERS="0",
        MAX_CONNECTION_SUBSCRIPTIONS="3",
        MESSAGES_PER_SECOND="4",
        MESSAGE_BURST="5",
        MAX_LAG="6",
        RETENTION_DAYS="0.5",
        ARCHIVE_DIR="/old",
    )
    assert settings == Settings(
        data_dir=Path("runcast-data"),
        host="0.0.0.0",
        port=0,
        metrics_port=9100,
        database_url="sqlite:///a.db",
        redis_url="redis://h",
        secret_key="any text",
        bootstrap_api_key=KEY,
        log_level="WARNING",
        egress_allow=(ip_network("10.0.0.0/8"), ip_network("192.168.1.7/32"), ip_network("::1/128")),
        egress_proxy="http://u:p@proxy:3128",
        allowed_origins=("https://a.example", "http://b.example:8080", "http://[::1]:3000"),
        max_body_bytes=2048,
        max_connections=1,
        max_subscriptions=2,
        max_filters=0,
        max_connection_subscriptions=3,
        messages_per_second=4,
        message_burst=5,
        max_lag=6,
        retention_days=0.5,
        archive_dir=Path("/old"),
    )
    assert not settings.is_loopback


def test_archives_are_in_the_data_directory_unless_said() -> None:
    assert read().archive == Path("runcast-data/archive")
    assert read(ARCHIVE_DIR="/old").archive == Path("/old")


def test_an_empty_variable_is_one_that_is_not_there() -> None:
    assert read(PORT="", SECRET_KEY="", LOG_LEVEL="") == read()


def test_options_of_the_command_win_over_the_environment() -> None:
    settings = from_environment({"RUNCAST_PORT": "1", "RUNCAST_HOST": "a"}, port=0, host=None, data_dir=Path("d"))
    assert (settings.port, settings.host, settings.data_dir) == (0, "a", Path("d"))


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("PORT", "x"),
        ("PORT", "-1"),
        ("PORT", "1.5"),
        ("METRICS_PORT", "65536"),
        ("DATABASE_URL", "mysql://u:hunter2@h"),
        ("DATABASE_URL", "runcast.db"),
        ("REDIS_URL", "http://u:hunter2@h"),
        ("BOOTSTRAP_API_KEY", "sk_live_hunter2"),
        ("BOOTSTRAP_API_KEY", KEY + "\n"),
        ("LOG_LEVEL", "verbose"),
        ("EGRESS_ALLOW", "example.com"),
        ("EGRESS_ALLOW", "10.0.0.0/8,300.1.1.1"),
        ("EGRESS_PROXY", "https://u:hunter2@proxy:3128"),
        ("EGRESS_PROXY", "http://u:hunter2@proxy"),
        ("MAX_BODY_BYTES", "1023"),
        ("MAX_CONNECTIONS", "0"),
        ("MESSAGES_PER_SECOND", "0.5"),
        ("MAX_LAG", "0"),
        ("ALLOWED_ORIGINS", "https://app.example/"),
        ("ALLOWED_ORIGINS", "https://app.example, app.example"),
        ("ALLOWED_ORIGINS", "https://App.example"),
        ("ALLOWED_ORIGINS", "*"),
        ("ALLOWED_ORIGINS", "https://app.example:443"),
        ("ALLOWED_ORIGINS", "http://[::1]:80"),
        ("RETENTION_DAYS", "90d"),
        ("RETENTION_DAYS", "0"),
        ("RETENTION_DAYS", "-1"),
        ("RETENTION_DAYS", "nan"),
        ("RETENTION_DAYS", "1e9"),
    ],
)
def test_a_wrong_setting_is_named_and_its_secret_is_not_repeated(name: str, text: str) -> None:
    with pytest.raises(SettingsError, match=f"^RUNCAST_{name}: ") as raised:
        read(**{name: text})
    assert "hunter2" not in str(raised.value)


def test_all_wrong_settings_come_at_once() -> None:
    with pytest.raises(SettingsError) as raised:
        read(PORT="x", LOG_LEVEL="y", EGRESS_ALLOW="z")
    assert len(str(raised.value).splitlines()) == 3


def test_a_port_above_65535_is_refused_wherever_it_comes_from() -> None:
    for settings in (lambda: read(PORT="65536"), lambda: from_environment({}, port=65536)):
        with pytest.raises(SettingsError, match="65536"):
            settings()


def test_its_repr_shows_no_secret() -> None:
    shown = repr(
        read(
            SECRET_KEY="hunter2",
            BOOTSTRAP_API_KEY=KEY,
            DATABASE_URL="postgresql://u:hunter2@h",
            REDIS_URL="redis://:hunter2@h",
            EGRESS_PROXY="http://u:hunter2@proxy:3128",
        )
    )
    assert "hunter2" not in shown
    assert KEY not in shown
    assert shown.count("[REDACTED]") == 5
    assert "port=8000" in shown


@pytest.mark.parametrize(
    ("host", "is_loopback"),
    [
        *((host, True) for host in ("127.0.0.1", "127.1.2.3", "::1", "localhost")),
        *((host, False) for host in ("0.0.0.0", "::", "10.0.0.1", "example.com")),
    ],
)
def test_which_hosts_only_this_machine_reaches(host: str, is_loopback: bool) -> None:
    assert read(HOST=host).is_loopback is is_loopback


@pytest.mark.parametrize(
    "url",
    [
        "postgresql://u:hunter2#x@/db",
        "postgresql://u:hunter2@host:abc/db",
        "postgresql://u:hunter2@[::1/db",
        "redis://:hunter2@host:99999",
    ],
)
def test_a_url_that_cannot_be_read_is_refused_and_not_repeated(url: str) -> None:
    name = "DATABASE_URL" if url.startswith("postgresql") else "REDIS_URL"
    with pytest.raises(SettingsError) as caught:
        from_environment({f"RUNCAST_{name}": url})
    assert name in str(caught.value)
    assert "hunter2" not in str(caught.value)


def test_a_misspelt_setting_is_named_with_the_one_that_may_be_meant() -> None:
    environ = {
        "RUNCAST_ALLOWED_ORIGIN": "https://a.example",
        "RUNCAST_MAX_CONECTIONS": "5",
        "RUNCAST_ALLOWED_ORIGINS": "https://a.example",
        "RUNCAST_URL": "http://127.0.0.1:8000",
        "RUNCAST_PORT_8000_TCP_ADDR": "10.0.0.1",
        "PATH": "/bin",
    }
    assert misspelt(environ) == {
        "RUNCAST_ALLOWED_ORIGIN": "RUNCAST_ALLOWED_ORIGINS",
        "RUNCAST_MAX_CONECTIONS": "RUNCAST_MAX_CONNECTIONS",
    }
