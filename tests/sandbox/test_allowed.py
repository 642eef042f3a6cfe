"""How a host is read, from the option and from a request alike, and which addresses stay closed."""

from __future__ import annotations

import re
from ipaddress import IPv4Address, IPv6Address, ip_address
from types import SimpleNamespace

import psutil
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from sandbox.allowed import Allowed, BadHost, Entry, Target, parse_target

SAFE = re.compile(r"[a-z0-9_.-]+|\[[0-9a-f:.]+\]")
HOSTS = st.text() | st.text("abzABZ019.-_:[]@*/%\\ \t\r\n\0。１é", max_size=40) | st.ip_addresses().map(str)


@pytest.mark.parametrize(
    ("text", "host", "ports"),
    [
        ("pypi.org", "pypi.org", (80, 443)),
        ("PyPI.Org.:8443", "pypi.org", (8443,)),
        ("bücher.example", "xn--bcher-kva.example", (80, 443)),
        ("a_b.example", "a_b.example", (80, 443)),
        ("192.0.2.7", IPv4Address("192.0.2.7"), (80, 443)),
        ("127.0.0.1:8000", IPv4Address("127.0.0.1"), (8000,)),
        ("１２７.0.0.1:8000", IPv4Address("127.0.0.1"), (8000,)),
        ("[2001:DB8::1]:443", IPv6Address("2001:db8::1"), (443,)),
        ("[::ffff:10.0.0.1]", IPv4Address("10.0.0.1"), (80, 443)),
        ("localhost:9000", "localhost", (9000,)),
    ],
)
def test_what_an_entry_means(text: str, host: object, ports: tuple[int, ...]) -> None:
    entry = Entry.parse(text)
    assert (entry.host, entry.ports) == (host, ports)
    assert Entry.parse(str(entry)) == entry


@pytest.mark.parametrize(
    "text",
    [
        "", " ", ".", "a..b", "-a.example", "a b", "a\0.example", "a\n", "\ta", "user@host", "user:pw@host",
        "https://pypi.org", "pypi.org/simple", "pypi.org:", "pypi.org:0", "pypi.org:65536", "pypi.org:４４３",
        "pypi.org:+80", "::1", "[::1", "[fe80::1%25eth0]:80", "[127.0.0.1]:80", "2130706433", "0x7f000001",
        "127.1", "0177.0.0.1", "1.2.3.4.5", "1.2.3.0x4", "*", "*.org", "*.127.0.0.1", "a.*.example",
        "%61.org", "a.example..", "x" * 64 + ".example", "a." * 127 + "example", "0.0.0.0:80", "[::]:80",
        "℀.example", "localhost", "127.0.0.1", "127.0.0.1:80", "[::1]:443", "xn--\x7f.example", "a\\b",
    ],
)  # fmt: skip
def test_what_is_refused(text: str) -> None:
    with pytest.raises(BadHost) as refused:
        Entry.parse(text)
    sentence = str(refused.value)
    assert sentence.endswith(".") and sentence.isprintable()


@given(HOSTS)
@example("127.0.0.1:8000")
@example("A.b.:1")
@example("ǰ.example")
def test_each_text_has_one_reading_or_none(text: str) -> None:
    try:
        entry = Entry.parse(text)
    except BadHost:
        return
    assert Entry.parse(str(entry)) == entry
    assert SAFE.fullmatch(str(entry).removeprefix("*.").partition("]")[0].split(":")[0]) or "[" in str(entry)
    if entry.below:
        return
    # What a request names in the same way is what is allowed, and nothing that looks like it.
    for port in entry.ports:
        target = parse_target(str(Target(entry.host, port)))
        assert entry.matches(target)
        assert not entry.matches(Target(target.host, port + 1)) or port + 1 in entry.ports


@given(HOSTS)
def test_a_request_is_read_as_the_option_is(text: str) -> None:
    try:
        target = parse_target(text, 80)
    except BadHost:
        return
    assert parse_target(text.upper(), 80) == target
    assert parse_target(str(target)) == target
    assert SAFE.fullmatch(str(target).rpartition(":")[0])
    assert text.isascii() and text.isprintable() and "@" not in text and " " not in text


def test_nothing_is_allowed_by_an_empty_list() -> None:
    none = Allowed.parse([])
    assert not none
    assert not none.names(Target("pypi.org", 443))


def test_an_entry_allows_its_own_ports_and_names_alone() -> None:
    allowed = Allowed.parse(["pypi.org", "git.example:22", "*.example.org:8443"])
    assert allowed.names(Target("pypi.org", 443)) and allowed.names(Target("pypi.org", 80))
    assert not allowed.names(Target("pypi.org", 22))
    assert not allowed.names(Target("evil-pypi.org", 443))
    assert not allowed.names(Target("pypi.org.evil.example", 443))
    assert allowed.names(Target("git.example", 22)) and not allowed.names(Target("git.example", 443))
    assert allowed.names(Target("a.b.example.org", 8443))
    assert not allowed.names(Target("example.org", 8443)) and not allowed.names(Target("xexample.org", 8443))


CLOSED = [
    "127.0.0.1", "127.9.9.9", "::1", "::ffff:127.0.0.1", "::127.0.0.1", "2002:7f00:1::", "64:ff9b::7f00:1",
    "0.0.0.0", "::", "10.1.2.3", "172.16.0.1", "172.31.255.255", "192.168.1.1", "100.64.0.1",
    "::ffff:10.0.0.1", "64:ff9b::a00:1", "fd00::1", "fc00::1", "fec0::1", "169.254.169.254", "fe80::1",
    "fe80::1%lo", "224.0.0.1", "255.255.255.255", "ff02::1", "fd00:ec2::254", "192.0.0.192",
    "2002:a9fe:a9fe::",
]  # fmt: skip


@pytest.mark.parametrize("text", CLOSED)
def test_addresses_that_no_name_may_lead_to(text: str) -> None:
    assert Allowed.parse(["pypi.org"]).closed(ip_address(text), 443)


@pytest.mark.parametrize(
    "text", ["8.8.8.8", "172.32.0.1", "203.0.113.80", "2606:4700::1111", "::ffff:8.8.8.8"]
)
def test_addresses_that_one_may(text: str) -> None:
    assert Allowed.parse(["pypi.org"]).closed(ip_address(text), 443) is None


def test_an_entry_that_names_the_address_opens_it() -> None:
    allowed = Allowed.parse(["10.1.2.3:8080", "localhost:9000", "[fd00::1]"])
    assert allowed.closed(ip_address("10.1.2.3"), 8080) is None
    assert allowed.closed(ip_address("::ffff:10.1.2.3"), 8080) is None
    assert allowed.closed(ip_address("10.1.2.3"), 443) and allowed.closed(ip_address("10.1.2.4"), 8080)
    assert allowed.closed(ip_address("127.0.0.1"), 9000) is None
    assert allowed.closed(ip_address("::1"), 9000) is None
    assert allowed.closed(ip_address("127.0.0.2"), 9000) and allowed.closed(ip_address("127.0.0.1"), 9001)
    assert allowed.closed(ip_address("fd00::1"), 443) is None


def test_no_name_leads_to_this_machine_by_its_outer_address(monkeypatch: pytest.MonkeyPatch) -> None:
    card = [SimpleNamespace(address="52:54:00:12:34:56"), SimpleNamespace(address="203.0.113.5")]
    card.append(SimpleNamespace(address="2001:db8::5%eth0"))
    monkeypatch.setattr(psutil, "net_if_addrs", lambda: {"eth0": card})
    allowed = Allowed.parse(["pypi.org", "203.0.113.5:8080"])
    assert allowed.closed(ip_address("203.0.113.5"), 443) and allowed.closed(ip_address("2001:db8::5"), 443)
    assert allowed.closed(ip_address("203.0.113.5"), 8080) is None
    assert allowed.closed(ip_address("203.0.113.6"), 443) is None
