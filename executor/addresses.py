"""Which addresses a request to the outside may reach, and how many ways there are to write one.

Pure. An address may be reached if it is globally routable unicast (the special-purpose registries of IANA, RFC 6890
and its updates) or lies in a network that the operator allowed. Forms that carry an IPv4 address inside (mapped,
6to4, NAT64, …) are judged by the address that a packet would end at.
"""

from __future__ import annotations

import socket
from collections.abc import Sequence
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address

Address = IPv4Address | IPv6Address
Network = IPv4Network | IPv6Network

_REFUSED_V4: tuple[tuple[IPv4Network, str], ...] = tuple(
    (IPv4Network(network), kind)
    for network, kind in (
        ("0.0.0.0/8", "unspecified"),
        ("10.0.0.0/8", "private"),
        ("100.64.0.0/10", "shared by carriers (CGNAT)"),
        ("127.0.0.0/8", "loopback"),
        ("168.63.129.16/32", "a cloud's metadata service"),
        ("169.254.0.0/16", "link-local (metadata services)"),
        ("172.16.0.0/12", "private"),
        ("192.0.0.0/24", "reserved"),
        ("192.0.2.0/24", "for documentation"),
        ("192.88.99.0/24", "reserved"),
        ("192.168.0.0/16", "private"),
        ("198.18.0.0/15", "for benchmarks"),
        ("198.51.100.0/24", "for documentation"),
        ("203.0.113.0/24", "for documentation"),
        ("224.0.0.0/4", "multicast"),
        ("240.0.0.0/4", "reserved"),
    )
)
_REFUSED_V6: tuple[tuple[IPv6Network, str], ...] = tuple(
    (IPv6Network(network), kind)
    for network, kind in (
        ("::/128", "unspecified"),
        ("::1/128", "loopback"),
        ("64:ff9b:1::/48", "a local NAT64 prefix"),
        ("2001::/23", "reserved"),  # Teredo, ORCHID, benchmarks and more
        ("2001:db8::/32", "for documentation"),
        ("3fff::/20", "for documentation"),
        ("fc00::/7", "private (unique local)"),
        ("fe80::/10", "link-local"),
        ("fec0::/10", "site-local"),
        ("ff00::/8", "multicast"),
    )
)
_GLOBAL_V6 = IPv6Network("2000::/3")
_MAPPED = IPv6Network("::ffff:0:0/96")
_COMPATIBLE = IPv6Network("::/96")
_TRANSLATED = IPv6Network("::ffff:0:0:0/96")
_NAT64 = IPv6Network("64:ff9b::/96")
_6TO4 = IPv6Network("2002::/16")
_ISATAP = (0x0000_5EFE, 0x0200_5EFE)

_LOOPBACKS = (IPv4Address("127.0.0.1"), IPv6Address("::1"))
_LOOPBACK_NAMES = frozenset({"localhost", "localhost.localdomain", "localhost6", "ip6-localhost", "ip6-loopback"})


def refused(address: Address, allow: Sequence[Network]) -> str | None:
    """Why the address may not be reached (`loopback`, `private`, …), or null if it may."""
    if any(address in network for network in allow if network.version == address.version):
        return None
    if isinstance(address, IPv4Address):
        return next((kind for network, kind in _REFUSED_V4 if address in network), None)
    inner = _inside(address)
    if inner is not None:
        form, carried = inner
        reason = refused(carried, allow)
        if reason is not None:
            return f"{reason}, written as {form}"
        if address in _MAPPED or address in _NAT64:
            return None
    reason = next((kind for network, kind in _REFUSED_V6 if address in network), None)
    return reason or (None if address in _GLOBAL_V6 else "reserved")


def refused_host(host: str, allow: Sequence[Network]) -> str | None:
    """Why a URL's host may not be reached, as far as its text says: an address in any spelling, or a name of this
    machine. Null for names that have to be resolved."""
    address = literal(host)
    if address is not None:
        reason = refused(address, allow)
        return None if reason is None else f"{host} is {reason}"
    name = host.rstrip(".").lower()
    if (name in _LOOPBACK_NAMES or name.endswith(".localhost")) and all(refused(a, allow) for a in _LOOPBACKS):
        return f"{host} is loopback"
    return None


def literal(host: str) -> Address | None:
    """The address that a host's text is for the resolver of an operating system, or null for a name.

    `127.1`, `0x7f.1`, `017700000001` and `2130706433` are all 127.0.0.1 (inet_aton); brackets, a zone id
    (`fe80::1%eth0`) and trailing dots are taken off.
    """
    bare = host.strip("[]").rstrip(".").partition("%")[0]
    try:
        return ip_address(bare)
    except ValueError:
        pass
    try:
        # inet_aton ignores what follows a blank; a host has none.
        return None if not bare or " " in bare else IPv4Address(socket.inet_aton(bare))
    except (OSError, UnicodeError, ValueError):
        return None


def _inside(address: IPv6Address) -> tuple[str, IPv4Address] | None:
    """The IPv4 address carried inside of an IPv6 one, with the name of the form."""
    number = int(address)
    low = IPv4Address(number & 0xFFFF_FFFF)
    if address in _MAPPED:
        return "an IPv4-mapped address", low
    if address in _NAT64:
        return "a NAT64 address", low
    if address in _6TO4:
        return "a 6to4 address", IPv4Address((number >> 80) & 0xFFFF_FFFF)
    if address in _TRANSLATED:
        return "an IPv4-translated address", low
    if address in _COMPATIBLE and number > 1:
        return "an IPv4-compatible address", low
    if (number >> 32) & 0xFFFF_FFFF in _ISATAP:
        return "an ISATAP address", low
    return None
