"""What may be requested, as far as its text says: URLs and headers before anything is connected. Pure."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from functools import lru_cache
from typing import Final, NamedTuple

from msgspec import Struct
from yarl import URL

from executor.addresses import Network, refused_host
from executor.exchange import Kind

LONGEST_URL: Final = 2048
_SERVICES: Final = """
tcpmux 1, echo 7, discard 9, systat 11, daytime 13, netstat 15, qotd 17, chargen 19, ftp-data 20, ftp 21, ssh 22,
telnet 23, smtp 25, time 37, name 42, nicname 43, domain 53, tftp 69, rje 77, finger 79, link 87, supdup 95,
hostname 101, iso-tsap 102, gppitnp 103, acr-nema 104, pop2 109, pop3 110, sunrpc 111, auth 113, sftp 115,
uucp-path 117, nntp 119, ntp 123, epmap 135, netbios-ns 137, netbios-ssn 139, imap 143, snmp 161, bgp 179, ldap 389,
svrloc 427, submissions 465, exec 512, login 513, shell 514, printer 515, tempo 526, courier 530, chat 531,
netnews 532, uucp 540, afp 548, rtsp 554, remotefs 556, nntps 563, submission 587, syslog 601, ldaps 636,
ftps-data 989, ftps 990, imaps 993, pop3s 995, h323gatestat 1719, h323hostcall 1720, pptp 1723, nfs 2049,
apple-sasl 3659, npp 4045, sieve 4190, sip 5060, sips 5061, x11 6000, sane-port 6566, irc 6665, irc 6666, irc 6667,
irc 6668, irc 6669, osaut 6679, ircs 6697, amanda 10080
"""
_NOT_FOR_HTTP: Final = {int(port): service for service, port in (each.split() for each in _SERVICES.split(","))}
"""Ports of other protocols, that might take our bytes for theirs (https://fetch.spec.whatwg.org/#port-blocking)."""
_HOST = re.compile(r"[A-Za-z0-9._-]+")
_TOKEN = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+")
_OF_THE_CONNECTION: Final = frozenset(
    {
        "connection",
        "content-length",
        "expect",
        "keep-alive",
        "proxy-authorization",
        "proxy-connection",
        "te",
        "trailer",
        "transfer-encoding",
        "upgrade",
    }
)
"""Where a request ends and what becomes of its connection is ours to say: connections are shared, and whoever could
lie about it would mix up the next one's answer with theirs (RFC 9112, section 11.2)."""
_FIELD_VALUE = re.compile(r"[\t\x20-\x7e\x80-\xff]*")


class Origin(NamedTuple):
    """Whom a connection is to; `host` as it is resolved."""

    is_tls: bool
    host: str
    port: int


class Target(Struct, frozen=True):
    """A URL as it was examined. With `problems` it is not to be requested; `kind` is that of the first."""

    problems: tuple[str, ...] = ()
    kind: Kind = Kind.INVALID
    origin: Origin = Origin(False, "", 0)
    authority: str = ""
    """What the header `Host` says."""
    path: str = ""
    """With its query, as a server is asked for it."""
    url: str = ""
    """As a proxy is asked for it."""


def examine(text: str, allow: Sequence[Network]) -> Target:
    """A URL by its text: scheme, host, port, credentials, an address in any spelling that may not be reached."""
    if len(text) > LONGEST_URL:
        return Target((f"the URL is longer than {LONGEST_URL} characters",))
    try:
        url = URL(text)
        host, port = url.raw_host, url.port
    except (ValueError, UnicodeError):
        return Target(("this is not a URL",))
    problems = _invalid(url, host, port)
    refusals = []
    if host and (reason := refused_host(host, allow)) is not None:
        refusals.append(f"{reason}, which may not be reached (RUNCAST_EGRESS_ALLOW)")
    if port in _NOT_FOR_HTTP and url.scheme in ("http", "https"):
        refusals.append(f"port {port} is for {_NOT_FOR_HTTP[port]}, and may not be reached over HTTP")
    origin = Origin(url.scheme == "https", host or "", port or 0)
    if problems or refusals:
        return Target((*problems, *refusals), Kind.INVALID if problems else Kind.NOT_ALLOWED, origin)
    asked = str(url.with_fragment(None))
    return Target(origin=origin, authority=url.host_port_subcomponent or "", path=url.raw_path_qs, url=asked)


def _invalid(url: URL, host: str | None, port: int | None) -> list[str]:
    problems = []
    if url.scheme not in ("http", "https"):
        problems.append("the URL must begin with http:// or https://")
    elif not host:
        problems.append("the URL has no host")
    elif not (_HOST.fullmatch(host) or ":" in host):
        problems.append("the URL's host is not a valid name")
    elif port == 0:
        problems.append("the URL's port must be 1 to 65535")
    if url.raw_user is not None or url.raw_password is not None:
        problems.append("the URL must not hold credentials; use 'authentication' or a header")
    return problems


def header_problem(name: str, value: str) -> str | None:
    """What keeps a header from being sent (RFC 9110, section 5), without showing its value."""
    if not is_token(name):
        return "a header's name holds characters that HTTP does not allow"
    if name.lower() in _OF_THE_CONNECTION:
        return f"header {name} belongs to the connection and is not to be set"
    if not ((value.isascii() and value.isprintable()) or _FIELD_VALUE.fullmatch(value)):
        return f"the value of header {name} holds characters that HTTP does not allow"
    return None


def are_proper(headers: Mapping[str, str]) -> bool:
    """Whether there is no `header_problem`, as fast as that can be said of what is plain. Of the rest it does not
    know: ask for each."""
    text = "".join(headers.values())
    return text.isascii() and text.isprintable() and all(map(_is_plain_name, headers))


@lru_cache(1024)
def _is_plain_name(name: str) -> bool:
    return is_token(name) and name.lower() not in _OF_THE_CONNECTION


@lru_cache(1024)
def is_token(text: str) -> bool:
    """Whether it may be a method or a header's name."""
    return _TOKEN.fullmatch(text) is not None
