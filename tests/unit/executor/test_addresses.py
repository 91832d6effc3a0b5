from __future__ import annotations

from ipaddress import IPv4Address, IPv6Address, ip_address, ip_network

import pytest
from hypothesis import given
from hypothesis import strategies as st

from executor.addresses import Network, literal, refused, refused_host

LOOPBACK: list[Network] = [ip_network("127.0.0.0/8"), ip_network("::1/128")]


@pytest.mark.parametrize(
    ("address", "reason"),
    [
        ("0.0.0.0", "unspecified"),
        ("0.1.2.3", "unspecified"),
        ("10.1.2.3", "private"),
        ("100.64.0.1", "CGNAT"),
        ("100.100.100.200", "CGNAT"),
        ("127.0.0.1", "loopback"),
        ("127.255.255.254", "loopback"),
        ("168.63.129.16", "metadata"),
        ("169.254.169.254", "link-local"),
        ("172.16.0.1", "private"),
        ("172.31.255.255", "private"),
        ("192.0.0.192", "reserved"),
        ("192.0.2.1", "documentation"),
        ("192.168.1.1", "private"),
        ("198.18.0.1", "benchmarks"),
        ("224.0.0.1", "multicast"),
        ("240.0.0.1", "reserved"),
        ("255.255.255.255", "reserved"),
        ("::", "unspecified"),
        ("::1", "loopback"),
        ("::ffff:127.0.0.1", "loopback, written as an IPv4-mapped"),
        ("::ffff:10.0.0.1", "private, written as an IPv4-mapped"),
        ("::ffff:a9fe:a9fe", "link-local"),
        ("::ffff:0:127.0.0.1", "loopback, written as an IPv4-translated"),
        ("::ffff:0:8.8.8.8", "reserved"),
        ("::127.0.0.1", "loopback, written as an IPv4-compatible"),
        ("::8.8.8.8", "reserved"),
        ("2002:7f00:1::", "loopback, written as a 6to4"),
        ("2002:0a00:0001::1", "private, written as a 6to4"),
        ("64:ff9b::127.0.0.1", "loopback, written as a NAT64"),
        ("64:ff9b::a9fe:a9fe", "link-local"),
        ("64:ff9b:1::1", "local NAT64"),
        ("2001::1", "reserved"),
        ("2001:0:7f00:1::", "reserved"),
        ("2606:4700::5efe:10.0.0.1", "private, written as an ISATAP"),
        ("fe80::5efe:8.8.8.8", "link-local"),
        ("2001:db8::1", "documentation"),
        ("3fff::1", "documentation"),
        ("100::1", "reserved"),
        ("5f00::1", "reserved"),
        ("fc00::1", "unique local"),
        ("fd00:ec2::254", "unique local"),
        ("fe80::1", "link-local"),
        ("febf::1", "link-local"),
        ("fec0::1", "site-local"),
        ("ff02::1", "multicast"),
    ],
)
def test_addresses_that_may_not_be_reached_say_why(address: str, reason: str) -> None:
    said = refused(ip_address(address), [])
    assert said is not None
    assert reason in said


@pytest.mark.parametrize(
    "address",
    [
        "1.1.1.1",
        "8.8.8.8",
        "100.63.255.255",
        "100.128.0.0",
        "172.15.255.255",
        "172.32.0.0",
        "223.255.255.255",
        "2606:4700:4700::1111",
        "2a00:1450:4001::200e",
        "::ffff:8.8.8.8",
        "64:ff9b::8.8.8.8",
        "2002:0808:0808::1",
    ],
)
def test_public_addresses_may_be_reached(address: str) -> None:
    assert refused(ip_address(address), []) is None


@pytest.mark.parametrize("address", ["127.0.0.1", "127.9.9.9", "::1", "::ffff:127.0.0.1", "64:ff9b::127.0.0.1"])
def test_allowed_networks_may_be_reached_in_every_form_that_ends_there(address: str) -> None:
    assert refused(ip_address(address), LOOPBACK) is None


def test_allowing_one_network_allows_no_other() -> None:
    assert refused(ip_address("10.0.0.1"), LOOPBACK)
    assert refused(ip_address("::ffff:10.0.0.1"), LOOPBACK)


@pytest.mark.parametrize(
    "host",
    [
        "127.0.0.1",
        "127.1",
        "127.0.1",
        "2130706433",
        "0x7f000001",
        "0x7F.1",
        "0x7f.0.0.0x1",
        "0177.0.0.1",
        "017700000001",
        "127.0.0.1.",
        "127.0.0.1..",
        "127.1.",
        "[::1]",
        "::1",
        "[::1%lo]",
        "::ffff:127.0.0.1",
        "[0:0:0:0:0:0:0:1]",
        "[::ffff:7f00:1]",
        "localhost",
        "LOCALHOST",
        "localhost.",
        "anything.localhost",
        "localhost.localdomain",
        "ip6-localhost",
    ],
)
def test_every_spelling_of_this_machine_is_refused_unless_allowed(host: str) -> None:
    assert "loopback" in (refused_host(host, []) or "")
    assert refused_host(host, LOOPBACK) is None


@pytest.mark.parametrize("host", ["fe80::1%eth0", "[fe80::1%25eth0]", "[FE80::1]"])
def test_zone_ids_hide_nothing(host: str) -> None:
    assert "link-local" in (refused_host(host, LOOPBACK) or "")


@pytest.mark.parametrize("host", ["example.com", "localhost.example.com", "mylocalhost", "1.2.3.4.5", "", "a b", "é"])
def test_names_are_left_to_the_resolver(host: str) -> None:
    assert literal(host) is None
    assert refused_host(host, []) is None


@given(st.integers(0, 2**32 - 1))
def test_an_ipv4_address_that_may_be_reached_is_global(number: int) -> None:
    address = IPv4Address(number)
    if refused(address, []) is None:
        assert address.is_global


@given(st.integers(0, 2**128 - 1))
def test_an_ipv6_address_that_may_be_reached_is_global_or_ends_at_a_global_one(number: int) -> None:
    address = IPv6Address(number)
    if refused(address, []) is None:
        inner = address.ipv4_mapped or address.sixtofour
        assert address.is_global or (inner is not None and inner.is_global)


@given(st.integers(0, 2**32 - 1))
def test_no_form_reaches_what_the_plain_address_may_not(number: int) -> None:
    plain = IPv4Address(number)
    if refused(plain, []) is not None:
        for prefix in ("::ffff:", "::ffff:0:", "64:ff9b::", "::"):
            assert refused(IPv6Address(f"{prefix}{plain}"), []) is not None
        assert refused(IPv6Address((0x2002 << 112) | (number << 80) | 1), []) is not None
