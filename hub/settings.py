"""Settings: the environment read once into a validated value. Its repr shows no secret."""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Callable, Mapping
from difflib import get_close_matches
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from msgspec import Struct

from executor import proxy
from executor.domain.plans import Plan
from hub.auth.apikeys import KEY

VERSION = "0.1.0"
PREFIX = "RUNCAST_"
_OF_CLIENTS = ("URL", "API_KEY")
LONGEST_DAYS = 36_500.0
_LAST_PORT = 65_535
LOG_LEVELS = ("DEBUG", "INFO", "WARNING", "ERROR")
_ORIGIN = re.compile(r"[a-z][a-z0-9+.-]*://[a-z0-9.-]+(:[0-9]{1,5})?|[a-z]+://\[[0-9a-f:.]+\](:[0-9]{1,5})?")
"""As browsers write it (RFC 6454, section 6.1): in lower case, without a path."""
_NEVER_SAID = re.compile(r"https://.*:443|http://.*:80")
Network = ipaddress.IPv4Network | ipaddress.IPv6Network


class SettingsError(ValueError):
    """Settings that cannot be used; one line for each that is wrong."""


class Settings(Struct, frozen=True, kw_only=True):
    data_dir: Path
    host: str = "127.0.0.1"
    port: int = 8000
    metrics_port: int | None = None
    """Where a process without the web role answers for its health and its metrics; nowhere unless set."""
    database_url: str | None = None
    redis_url: str | None = None
    secret_key: str | None = None
    bootstrap_api_key: str | None = None
    log_level: str = "INFO"
    egress_allow: tuple[Network, ...] = ()
    egress_proxy: str | None = None
    allowed_origins: tuple[str, ...] = ()
    max_body_bytes: int = 1024 * 1024
    max_connections: int = 10_000
    """Open sockets and event streams of an organization, in each process; so are the next two."""
    max_subscriptions: int = 100_000
    max_filters: int = 50
    max_connection_subscriptions: int = 1000
    messages_per_second: int = 100
    """From one socket; `message_burst` may come at once."""
    message_burst: int = 200
    max_unsent_bytes: int = 256 * 1024
    """What may wait for one client before it is set aside."""
    max_lag: int | None = None
    """Events that a slow socket may be behind before it is closed."""
    plan: Plan = Plan.UNLIMITED
    retention_days: float | None = None
    archive_dir: Path | None = None
    take_over: bool = False
    """Only the command says it: in an environment it would hold for every start to come."""

    @property
    def archive(self) -> Path:
        """Where archive files go."""
        return self.archive_dir or self.data_dir / "archive"

    @property
    def is_loopback(self) -> bool:
        try:
            return ipaddress.ip_address(self.host).is_loopback
        except ValueError:
            return self.host == "localhost"

    def __repr__(self) -> str:
        secret = {"secret_key", "bootstrap_api_key", "database_url", "redis_url", "egress_proxy"}
        shown = (
            f"{name}={'[REDACTED]' if name in secret and value else repr(value)}"
            for name in self.__struct_fields__
            if (value := getattr(self, name)) is not None
        )
        return f"Settings({', '.join(shown)})"


def from_environment(environ: Mapping[str, str], **options: Any) -> Settings:
    """Reads `RUNCAST_…`; `options` of the command line that are not None win. Raises `SettingsError` with every
    wrong setting at once."""
    values: dict[str, Any] = {"data_dir": Path("./runcast-data")}
    wrong: list[str] = []
    for name, parse in _PARSERS.items():
        text = environ.get(PREFIX + name.upper())
        if text is not None and text != "":
            try:
                values[name] = parse(text)
            except ValueError as error:
                wrong.append(f"{PREFIX}{name.upper()}: {error}")
    values |= {name: value for name, value in options.items() if value is not None}
    if not 0 <= values.get("port", 0) <= _LAST_PORT:
        wrong.append(f"port: {values['port']} is not between 0 and {_LAST_PORT}")
    if wrong:
        raise SettingsError("\n".join(wrong))
    return Settings(**values)


def misspelt(environ: Mapping[str, str]) -> dict[str, str]:
    """Variables that look like a setting and are none, each with the one that may be meant. Others that start with
    the prefix are somebody else's, as those that Kubernetes makes of a service's name."""
    known = [PREFIX + name.upper() for name in _PARSERS] + [PREFIX + name for name in _OF_CLIENTS]
    strange = [name for name in environ if name.startswith(PREFIX) and name not in known]
    meant = {name: get_close_matches(name, known, n=1, cutoff=0.9) for name in strange}
    return {name: matches[0] for name, matches in meant.items() if matches}


def _text(text: str) -> str:
    return text


def _integer(least: int) -> Callable[[str], int]:
    def parse(text: str) -> int:
        try:
            number = int(text)
        except ValueError:
            raise ValueError(f"'{text}' is not a whole number") from None
        if number < least:
            raise ValueError(f"{number} is less than {least}")
        return number

    return parse


def _port(text: str) -> int:
    number = _integer(0)(text)
    if number > _LAST_PORT:
        raise ValueError(f"{number} is not between 0 and {_LAST_PORT}")
    return number


def _days(text: str) -> float:
    try:
        days = float(text)
    except ValueError:
        raise ValueError(f"'{text}' is not a number of days") from None
    if not 0 < days <= LONGEST_DAYS:
        raise ValueError(f"{text} is not above 0 and at most {LONGEST_DAYS:g} days")
    return days


def _plan(text: str) -> Plan:
    offered = [plan for plan in Plan if plan is not Plan.CUSTOM]
    if text.lower() not in offered:
        raise ValueError(f"'{text}' is not a plan; there are {', '.join(offered)}")
    return Plan(text.lower())


def _level(text: str) -> str:
    if text.upper() not in LOG_LEVELS:
        raise ValueError(f"'{text}' is not a level; there are {', '.join(LOG_LEVELS).lower()}")
    return text.upper()


def _api_key(text: str) -> str:
    if KEY.fullmatch(text) is None:
        raise ValueError("must be sk_live_ or sk_test_ and 32 letters and digits")
    return text


def _networks(text: str) -> tuple[Network, ...]:
    networks = []
    for part in filter(None, (part.strip() for part in text.split(","))):
        try:
            networks.append(ipaddress.ip_network(part, strict=False))
        except ValueError:
            raise ValueError(f"'{part}' is not a network; write it as 10.0.0.0/8") from None
    return tuple(networks)


def _proxy(text: str) -> str:
    proxy.parse(text)
    return text


def _origins(text: str) -> tuple[str, ...]:
    origins = tuple(filter(None, (part.strip() for part in text.split(","))))
    for origin in origins:
        if _ORIGIN.fullmatch(origin) is None:
            said = f"'{origin}' is not an origin; write it as https://app.example.com"
            raise ValueError(f"{said}, or leave it unset for any" if origin == "*" else said)
        if _NEVER_SAID.fullmatch(origin):
            raise ValueError(f"'{origin}' is never said: browsers leave out the port that a scheme has anyway")
    return origins


def _url(*schemes: str) -> Callable[[str], str]:
    def parse(text: str) -> str:
        # The text itself may hold a password, so it is not repeated.
        if not text.startswith(tuple(f"{scheme}://" for scheme in schemes)):
            raise ValueError(f"must start with {' or '.join(f'{scheme}://' for scheme in schemes)}")
        if not _is_readable(text):
            raise ValueError("cannot be read as a URL; in a password write / ? # @ : [ as %2F %3F %23 %40 %3A %5B")
        return text

    return parse


def _is_readable(url: str) -> bool:
    """The parts of a URL can be told apart, and its port is a number."""
    try:
        parts = urlsplit(url)
        return parts.scheme == "sqlite" or not (parts.fragment or parts.port == 0)
    except ValueError:
        return False


_PARSERS: dict[str, Callable[[str], Any]] = {
    "host": _text,
    "port": _integer(0),
    "metrics_port": _port,
    "database_url": _url("sqlite", "postgresql"),
    "redis_url": _url("redis", "rediss", "unix"),
    "secret_key": _text,
    "bootstrap_api_key": _api_key,
    "log_level": _level,
    "egress_allow": _networks,
    "egress_proxy": _proxy,
    "allowed_origins": _origins,
    "max_body_bytes": _integer(1024),
    "max_connections": _integer(1),
    "max_subscriptions": _integer(1),
    "max_filters": _integer(0),
    "max_connection_subscriptions": _integer(1),
    "messages_per_second": _integer(1),
    "message_burst": _integer(1),
    "max_unsent_bytes": _integer(16 * 1024),
    "max_lag": _integer(1),
    "plan": _plan,
    "retention_days": _days,
    "archive_dir": Path,
}
