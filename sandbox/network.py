"""What a sandbox with an allow list has more: a proxy outside, a bridge to it inside, an environment."""

from __future__ import annotations

import asyncio
import contextlib
import os
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path

from sandbox.allowed import LOCALHOST, Allowed, Entry, Target
from sandbox.errors import SandboxError
from sandbox.launcher import Launcher, Service
from sandbox.limits import Limits
from sandbox.policy import Mount, Overlay, Policy
from sandbox.proxy import Connection, Proxy
from sandbox.supervisor import INSIDE_THERE
from sandbox.toolchain import own_python

PORT = 21953
"""Of the sandbox's own loopback, where its programs find the proxy; below those given out at random."""
BRIDGE = INSIDE_THERE / "proxy_bridge.py"
SOCKET_INSIDE = Path("/run/ostro/proxy.sock")
READY_WITHIN = 20.0
CHECK_LIMITS = Limits(seconds=20, output_bytes=10_000)
BRIDGE_LIMITS = Limits(disk_bytes=None)
DENIALS_KEPT = 100

PROXY_VARIABLES = ("HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY")
HERE = "localhost,127.0.0.1,::1"
"""What programs inside reach without the proxy: their own loopback."""
# Both name what to believe or where to ask, and hold no secret; some need them to reach anything at all.
CERTIFICATES = {
    "SSL_CERT_FILE", "SSL_CERT_DIR", "REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE", "PIP_CERT",
    "NODE_EXTRA_CA_CERTS", "GIT_SSL_CAINFO", "CARGO_HTTP_CAINFO", "NPM_CONFIG_CAFILE", "NIX_SSL_CERT_FILE",
}  # fmt: skip
INDEXES = {
    "PIP_INDEX_URL", "PIP_EXTRA_INDEX_URL", "PIP_FIND_LINKS", "UV_INDEX_URL", "UV_EXTRA_INDEX_URL",
    "UV_DEFAULT_INDEX", "UV_INDEX", "NPM_CONFIG_REGISTRY", "GOPROXY",
}  # fmt: skip
LARGEST_CERTIFICATES = 8 << 20


class Network:
    """Opened with at least one host; each sandbox that programs run in gets a bridge of its own."""

    def __init__(self, allowed: Allowed, socket: Path) -> None:
        self.allowed = allowed
        self.denied: deque[Connection] = deque(maxlen=DENIALS_KEPT)
        """The last connections that were refused, oldest first."""
        self.listener: Callable[[Connection], None] | None = None
        """Told of each connection when it is over."""
        self._socket = socket
        self._proxy = Proxy(allowed, self._tell)
        self._bridges: dict[tuple[Mount | Overlay, ...], Service] = {}
        self._turn = asyncio.Lock()

    @classmethod
    async def open(cls, hosts: Sequence[str], folder: Path) -> Network:
        """Listens on a socket in `folder`, a private one. Raises SandboxError (BadHost for a bad host)."""
        network = cls(Allowed.parse(hosts), folder / "proxy.sock")
        try:
            await network._proxy.listen(network._socket)
        except OSError as problem:
            raise SandboxError(f"Ostro's proxy cannot listen in {folder} ({problem.strerror}).") from None
        return network

    @property
    def unchecked(self) -> list[str]:
        """Proxies of the user's environment that the way leads through."""
        return sorted({str(proxy) for proxy in self._proxy.outbound.proxies.values()})

    def extended(self, policy: Policy, environ: Mapping[str, str]) -> Policy:
        """The policy with the proxy's socket, and what programs need to find it and to trust a host."""
        variables, readable = _from_caller(environ, policy)
        return replace(
            policy,
            environment={**policy.environment, **variables, **_environment()},
            readable=(*policy.readable, *(place for place in readable if place not in policy.readable)),
        ).with_mounts(Mount(self._socket, SOCKET_INSIDE))

    async def ready(self, launcher: Launcher, policy: Policy) -> None:
        """Sees to a bridge in the sandbox of this policy, and to its answering. Raises SandboxError."""
        async with self._turn:
            bridge = self._bridges.get(policy.mounts)
            if bridge is not None and bridge.alive:
                return
            self._bridges[policy.mounts] = await self._bridge(launcher, policy)

    async def close(self) -> None:
        """Ends every connection; the listener has been told of each by then."""
        await self._proxy.close()

    def _tell(self, connection: Connection) -> None:
        if not connection.allowed:
            self.denied.append(connection)
        if self.listener is not None:
            self.listener(connection)

    async def _bridge(self, launcher: Launcher, policy: Policy) -> Service:
        ports = [word for entry in self.allowed.entries if entry.loopback for word in _offered(entry)]
        start = [str(own_python()), "-I", "-S", str(BRIDGE)]
        bridge = await launcher.service(
            policy, [*start, str(SOCKET_INSIDE), str(PORT), *ports], cwd=policy.root, limits=BRIDGE_LIMITS
        )
        said = b""
        with contextlib.suppress(TimeoutError, ValueError):
            async with asyncio.timeout(READY_WITHIN):
                said = await bridge.reader.readline()
        try:
            if said.strip() != b"ready":
                why = said.decode("utf-8", "replace").strip() or "it did not start"
                raise SandboxError(f"The sandbox's way to the network cannot be opened ({why}).")
            check = [*start, "--check", str(PORT)]
            done = await launcher.run(policy, check, cwd=policy.root, limits=CHECK_LIMITS)
            if done.exit_code != 0:
                raise SandboxError("The sandbox's way to the network is open, but commands do not reach it.")
        except BaseException:
            await bridge.stop()
            raise
        return bridge


def _offered(entry: Entry) -> list[str]:
    """Arguments of the bridge for a port of the host, so that it is found inside under its own number."""
    host = "127.0.0.1" if entry.host == LOCALHOST else str(entry.host)
    return [word for port in entry.ports for word in (host, str(port), str(Target(entry.host, port)))]


def _environment() -> dict[str, str]:
    proxy = f"http://127.0.0.1:{PORT}"
    values = {**dict.fromkeys(PROXY_VARIABLES, proxy), "NO_PROXY": HERE}
    lower = {name.lower(): value for name, value in values.items()}
    return {**values, **lower, "NODE_USE_ENV_PROXY": "1"}


def _from_caller(environ: Mapping[str, str], policy: Policy) -> tuple[dict[str, str], list[Path]]:
    """Variables of the caller's that package managers need, and the hidden files they name."""
    variables: dict[str, str] = {}
    readable: list[Path] = []
    for name, value in environ.items():
        if name.upper() in INDEXES and not any(sign in value for sign in "@?"):  # a password, a token
            variables[name] = value
        if name.upper() not in CERTIFICATES or not os.path.isabs(value):
            continue
        places = [Path(value), Path(os.path.realpath(value))]
        hidden = [p for p in places if any(p.is_relative_to(folder) for folder in policy.hidden)]
        if _holds_certificates(places[1]) or (places[1].is_dir() and not hidden):
            variables[name] = value
            readable += hidden
    return variables, list(dict.fromkeys(readable))


def _holds_certificates(path: Path) -> bool:
    """And no private key: what is made readable is read by whatever runs inside."""
    try:
        if not path.is_file() or path.stat().st_size > LARGEST_CERTIFICATES:
            return False
        content = path.read_bytes()
    except OSError:
        return False
    return b"BEGIN CERTIFICATE" in content and b"PRIVATE KEY" not in content
