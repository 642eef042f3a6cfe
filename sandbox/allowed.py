"""The hosts of `--allow-network`: one parse of a host's name for the option and for every request."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv6Address, IPv6Network, ip_address, ip_network

import idna
import psutil

from sandbox.errors import WrongOption

Address = IPv4Address | IPv6Address
Host = str | Address
"""A name in lower case without its last dot, or an address."""

DEFAULT_PORTS = (80, 443)
LOCALHOST = "localhost"
FIRST_FREE_PORT = 1024
"""Below it nobody without rights can listen, so that a port of the host cannot be offered inside."""

_AUTHORITY = re.compile(r"(?:\[(?P<six>[0-9A-Fa-f:.]+)\]|(?P<name>[^:\[\]]+))(?::(?P<port>[0-9]{1,5}))?")
_LABEL = re.compile(r"[a-z0-9_](?:[a-z0-9_-]{0,61}[a-z0-9_])?")
_NUMBER = re.compile(r"[0-9]+|0x[0-9a-f]*")
"""A last label by which some programs read the whole name as an address (127.1, 0x7f000001)."""
_LONGEST_NAME = 253
_LOOPBACK = (IPv4Address("127.0.0.1"), IPv6Address("::1"))

# Named one by one: `is_private` of the standard library also holds for documentation and test networks,
# which some networks use for what is public.
CLOSED = {
    "an unspecified address": ("0.0.0.0/8", "::/128"),
    "an address of this machine": ("127.0.0.0/8", "::1/128"),
    "a link-local address": ("169.254.0.0/16", "fe80::/10"),  # 169.254.169.254: a cloud's credentials
    "an address of a private network": (
        "10.0.0.0/8", "172.16.0.0/12", "192.168.0.0/16", "100.64.0.0/10", "192.0.0.0/24",
        "fc00::/7", "fec0::/10", "64:ff9b:1::/48",
    ),
    "a multicast or reserved address": ("224.0.0.0/4", "240.0.0.0/4", "ff00::/8", "2001::/32"),
}  # fmt: skip
_NETWORKS = {kind: [ip_network(text) for text in texts] for kind, texts in CLOSED.items()}
_WITH_IPV4 = (IPv6Network("::/96"), IPv6Network("64:ff9b::/96"))
"""IPv6 networks whose last four bytes are an IPv4 address that packets may end at."""


class BadHost(WrongOption):
    """A host that cannot be read, or must not be: one sentence that says why and what to write."""


@dataclass(frozen=True)
class Target:
    """Where a connection is to go."""

    host: Host
    port: int

    def __str__(self) -> str:
        return f"{shown(self.host)}:{self.port}"


@dataclass(frozen=True)
class Entry:
    """One `--allow-network HOST[:PORT]`."""

    host: Host
    """With `below`, the name that the allowed ones end in."""
    ports: tuple[int, ...]
    below: bool = False
    """`*.example.org`: all names below it, not the name itself."""

    @classmethod
    def parse(cls, text: str) -> Entry:
        """`HOST`, `HOST:PORT`, `*.DOMAIN`, `ADDRESS`, `[IPv6]:PORT`. Raises BadHost."""
        if "://" in text or "/" in text:
            raise BadHost(f"{text!r} is not HOST or HOST:PORT; leave out what stands before and after them.")
        below = text.startswith("*.")
        host, port = _parse(text[2:] if below else text)
        if below and (not isinstance(host, str) or "." not in host):
            raise BadHost(f"{text!r} would allow too much; write *.DOMAIN with two parts or more.")
        if _is_loopback(host) and not below:
            _require_free_port(text, port)
        if _closed(host) == "an unspecified address":
            raise BadHost(f"{text!r} is no address to connect to; write 127.0.0.1:PORT for this machine.")
        return cls(host, DEFAULT_PORTS if port is None else (port,), below)

    @property
    def loopback(self) -> bool:
        """Whether it names a port of this machine."""
        return _is_loopback(self.host) and not self.below

    def matches(self, target: Target) -> bool:
        if target.port not in self.ports:
            return False
        if self.below:
            return isinstance(target.host, str) and target.host.endswith(f".{self.host}")
        return target.host == self.host

    def __str__(self) -> str:
        name = f"*.{self.host}" if self.below else shown(self.host)
        return f"{name}:{self.ports[0]}" if len(self.ports) == 1 else name


class Allowed:
    """What may be reached. No entries: nothing."""

    def __init__(self, entries: Iterable[Entry] = ()) -> None:
        self.entries = tuple(dict.fromkeys(entries))

    @classmethod
    def parse(cls, texts: Iterable[str]) -> Allowed:
        """Raises BadHost at the first that cannot be read."""
        return cls(Entry.parse(text) for text in texts)

    def __bool__(self) -> bool:
        return bool(self.entries)

    def names(self, target: Target) -> bool:
        """Whether an entry names the host and port."""
        return any(entry.matches(target) for entry in self.entries)

    def closed(self, address: Address, port: int) -> str | None:
        """Why a connection to an address that a name led to is refused; None where it may be made.

        Addresses of this machine and of private networks are, unless an entry names that very address.
        """
        address = _plain(address)
        if self.names(Target(address, port)):
            return None
        if address in _LOOPBACK and self.names(Target(LOCALHOST, port)):
            return None
        return _closed(address) or ("an address of this machine" if address in _own_addresses() else None)


def parse_target(text: str, default_port: int | None = None) -> Target:
    """The host and port of a request: the very parse that an entry gets. Raises BadHost."""
    if not text.isascii():
        raise BadHost(f"{text!r} is not ASCII; a request names a host in its encoded form (xn--...).")
    host, port = _parse(text)
    port = port or default_port
    if port is None:
        raise BadHost(f"{text!r} has no port; write HOST:PORT.")
    return Target(host, port)


def shown(host: Host) -> str:
    return f"[{host}]" if isinstance(host, IPv6Address) else str(host)


def needs_no_check(host: Host) -> bool:
    """Whether a host is this machine or in a private network by its own name: no resolver is asked."""
    return host == LOCALHOST or _closed(host) is not None


def _parse(text: str) -> tuple[Host, int | None]:
    match = _AUTHORITY.fullmatch(text)
    if match is None:
        if text.count(":") > 1 and "[" not in text:
            raise BadHost(f"{text!r} is not HOST or HOST:PORT; an IPv6 address stands in brackets: [::1]:80.")
        raise BadHost(f"{text!r} is not HOST or HOST:PORT.")
    port = None if match["port"] is None else int(match["port"])
    if port is not None and not 0 < port < 1 << 16:
        raise BadHost(f"{text!r}: a port is a number from 1 to 65535.")
    if match["six"] is not None:
        try:
            return _plain(IPv6Address(match["six"])), port
        except ValueError:
            raise BadHost(f"{text!r}: what is in the brackets is no IPv6 address.") from None
    return _name(text, match["name"]), port


def _name(text: str, name: str) -> Host:
    if not name.isascii():
        try:
            name = idna.encode(name, uts46=True).decode("ascii")
        except idna.IDNAError:
            raise BadHost(f"{text!r} is no host name.") from None
    name = name.lower().removesuffix(".")
    labels = name.split(".")
    if _NUMBER.fullmatch(labels[-1]):
        try:
            return IPv4Address(name)
        except ValueError:
            raise BadHost(f"{text!r} is neither a name nor an IPv4 address of four numbers.") from None
    if len(name) > _LONGEST_NAME or not all(_LABEL.fullmatch(label) for label in labels):
        raise BadHost(f"{text!r} is no host name.")
    return name


def _require_free_port(text: str, port: int | None) -> None:
    if port is None:
        raise BadHost(f"{text!r} is this machine; say which port of it: {text}:PORT.")
    if port < FIRST_FREE_PORT:
        raise BadHost(
            f"{text!r}: ports of this machine below {FIRST_FREE_PORT} cannot be offered inside the sandbox; "
            "let the program listen on a higher one."
        )


def _is_loopback(host: Host) -> bool:
    return host == LOCALHOST or (not isinstance(host, str) and host.is_loopback)


def _closed(host: Host) -> str | None:
    if isinstance(host, str):
        return None
    for kind, networks in _NETWORKS.items():
        if any(host in network for network in networks):
            return kind
    inner = _embedded(host)
    return _closed(inner) if inner is not None else None


def _plain(address: Address) -> Address:
    """An IPv4 address written as IPv6 (::ffff:127.0.0.1) as what it is."""
    mapped = address.ipv4_mapped if isinstance(address, IPv6Address) else None
    return mapped or address


def _embedded(address: Address) -> IPv4Address | None:
    if isinstance(address, IPv4Address):
        return None
    if address.sixtofour is not None:
        return address.sixtofour
    if address.ipv4_mapped is not None:
        return address.ipv4_mapped
    if any(address in network for network in _WITH_IPV4):
        return IPv4Address(int(address) & 0xFFFFFFFF)
    return None


def _own_addresses() -> set[Address]:
    """Those of this machine's interfaces: a firewall may hide from others what listens there."""
    found: set[Address] = set()
    for addresses in psutil.net_if_addrs().values():
        for one in addresses:
            try:
                found.add(_plain(ip_address(one.address.partition("%")[0])))
            except ValueError:  # a hardware address
                continue
    return found
