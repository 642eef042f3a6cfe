"""Whether a command failed for want of the network, and which `--allow-network` would have helped it."""

from __future__ import annotations

import re

from sandbox.allowed import FIRST_FREE_PORT, BadHost, Entry, Target
from sandbox.host_ports import listens
from sandbox.network import Network

UNSAFE = "--unsafe-no-sandbox"
FLAG = "--allow-network"
NO_NETWORK = re.compile(
    r"Temporary failure in name resolution|Name or service not known|Could not resolve host"
    r"|getaddrinfo EAI_AGAIN|Network is unreachable|failed to lookup address information"
    r"|dial tcp: lookup \S+|unable to resolve host address|Failed to resolve '"
)
_HOST = r"(?P<host>[A-Za-z0-9_.-]+\.[A-Za-z0-9-]+)"
NAMED = [
    re.compile(pattern.replace("HOST", _HOST))
    for pattern in (
        r"Could not resolve host(?:name)?:? HOST",
        r"(?:EAI_AGAIN|dial tcp: lookup) HOST",
        r"unable to resolve host address [‘'`\"]HOST",
        r"host='HOST', port=(?P<port>\d+)",
        r"Failed to resolve 'HOST'",
        r"connect to HOST port (?P<port>\d+)",
        r"https?://HOST(?::(?P<port>\d+))?[/'\"` :]",
    )
]
"""How programs name the host they did not find, the surest first."""
SAID = re.compile(rf"{FLAG} (?P<target>\S+) would allow it")
"""The proxy's own words, which many programs show."""
TUNNEL_REFUSED = re.compile(r"CONNECT tunnel failed, response 403|HTTP code 403 from proxy|: 403 from proxy")
REFUSED = re.compile(r"Connection refused|ECONNREFUSED|Couldn't connect to server")
OWN_PORT = re.compile(
    r"\b(?:127\.0\.0\.1|localhost|::1)['\")\]]*\s*[:,]?\s*(?:port)?\s*=?\s*(?P<port>\d{2,5})\b"
)


def network_reason(text: str, network: Network | None) -> str | None:
    """One sentence, or None where the network is not why."""
    return _denied(text, network) or _unreachable(text, network) or _own_loopback(text, network)


def _denied(text: str, network: Network | None) -> str | None:
    """The proxy's own record decides; a program's output alone may say anything."""
    if network is None:
        return None
    said = SAID.search(text)
    if said is None and not TUNNEL_REFUSED.search(text):
        return None
    for one in reversed(network.denied):
        if said is None or said["target"] == one.needs:
            what = f"The command was denied a connection to {one.target} ({one.why})"
            return f"{what}; {FLAG} {one.needs} would allow it."
    return None


def _unreachable(text: str, network: Network | None) -> str | None:
    match = NO_NETWORK.search(text)
    if match is None:
        return None
    needs = f"The command needs the network ({match[0].removesuffix(chr(39)).strip()})"
    target = _named(text)
    if network is not None and (target is None or network.allowed.names(target)):
        where = "the hosts of --allow-network" if target is None else target.host
        return f"{needs} and went past the proxy of HTTPS_PROXY, the only way to {where} from the sandbox."
    if target is None:
        return f"{needs}, which the sandbox denies; {FLAG} HOST would open one host, {UNSAFE} all of it."
    entry = Entry.parse(str(target.host))
    flag = str(target.host) if target.port in entry.ports else str(target)
    return f"{needs}, which the sandbox denies; {FLAG} {flag} would allow it."


def _named(text: str) -> Target | None:
    """The host that was not reached, where the output tells it."""
    for pattern in NAMED:
        for match in pattern.finditer(text):
            port = int(match.groupdict().get("port") or 443)
            try:
                entry = Entry.parse(match["host"])
            except BadHost:
                continue
            return Target(entry.host, port)
    return None


def _own_loopback(text: str, network: Network | None) -> str | None:
    """A port where nobody listens inside, but a program of the host outside."""
    for line in text.splitlines():
        match = OWN_PORT.search(line) if REFUSED.search(line) else None
        if match is None:
            continue
        port = int(match["port"])
        offered = network is not None and any(e.loopback and port in e.ports for e in network.allowed.entries)
        if offered or not listens(port):
            continue
        flag = UNSAFE if port < FIRST_FREE_PORT else f"{FLAG} 127.0.0.1:{port}"
        return (
            f"The sandbox has a loopback of its own, without this machine's program that listens on port "
            f"{port}; {flag} would let the command reach it."
        )
    return None
