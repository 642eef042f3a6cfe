"""What the layers of a sandbox enforce, and what they do not, in plain words."""

from __future__ import annotations

from typing import Any

from sandbox.alone import Alone
from sandbox.bubblewrap import Bubblewrap
from sandbox.network import Network

FATAL = {
    "outside": "a file outside the workspace could be written",
    "writable mounts": "what lies outside the workspace could be written",
    "sockets": "sockets could be made",
    "kernel parameters": "kernel parameters could be written",
    "first environment": "the first process shows an environment",
    "network": "the host's network is visible",
    "capabilities": "capabilities were left",
    "remount": "a read-only mount could be made writable",
    "no home": "the home folder cannot be written",
    "no workspace": "the workspace cannot be written",
}
"""What must not be found, by the names of `probe.py`."""

_NO_NETWORK = "no network: only a loopback of its own"
_MOUNTS = [
    "files outside the workspace cannot be changed, and home folders, /tmp and /run are not visible",
    _NO_NETWORK,
    "processes see and signal only each other, and none outlives its command",
    "the environment holds an allow-list; no secrets of the caller",
    "no capabilities, kernel parameters read-only",
    "what makes git run programs (hooks, configuration) cannot be changed in any repository of the workspace",
    "limits on time, output, file size, open files, processes, memory and disk",
]
_LANDLOCK = "Landlock stands behind the mounts: no write outside even through a file left open by mistake"
_SECCOMP = (
    "system calls are filtered: no mounts, namespaces, tracing, keyrings, io_uring; four socket families"
)
_OPEN = [
    "files outside home folders that the user can read can be read",
    "git repositories made inside the workspace during the session may hold hooks",
    "hard links that lead out of the workspace, where there were some before",
    "unix sockets outside /run, /tmp and home folders that were made after the session began can be reached",
]


_ALONE = [
    "files outside the workspace cannot be changed, and what may be read is a list without home folders",
    "no sockets, so no network and no service of this machine",
    "processes signal only each other; what a command leaves running is looked for and ended",
    "no memory is shared with other programs, and neither their limits nor their priorities can be changed",
    "of the devices only null, zero, full, random and urandom; your terminals cannot be read or written",
    "the environment holds an allow-list; no secrets of the caller; home and temporary folders are private",
    "no capabilities, no mounts, namespaces, tracing, keyrings, io_uring",
    "limits on time, output, file size, open files, processes, memory and disk",
]
_ALONE_OPEN = [
    "what makes git run programs (hooks, configuration) can be changed; it is looked at after each command",
    "no loopback, no /dev/shm: servers in tests and locks of multiprocessing do not work",
    "no pseudo-terminals and no extended attributes: programs that need one of them do not work",
    "permissions, owners and times of files of yours can be changed, also outside the workspace",
    "the list of processes can be seen, with their arguments",
    "candidates are tried at paths of their own",
]


def describe(mechanism: Bubblewrap | Alone | None, network: Network | None = None) -> dict[str, Any]:
    """`mechanism`, `tier` (A, B, C or none), `program`, `enforced`, `not_enforced`; `network`: open hosts."""
    if isinstance(mechanism, Alone):
        return {
            "mechanism": "Landlock + seccomp",
            "tier": "C",
            "enforced": list(_ALONE),
            "not_enforced": list(_ALONE_OPEN),
        }
    bubblewrap = mechanism
    if bubblewrap is None:
        return {
            "mechanism": "none",
            "tier": "none",
            "enforced": ["limits on time, output and file size"],
            "not_enforced": [
                "commands can read and change every file that the user can",
                "commands can use the network and see the user's environment",
                "a process that leaves its group outlives its command",
            ],
        }
    layers, enforced, left = ["bubblewrap"], list(_MOUNTS), list(_OPEN)
    if bubblewrap.landlock:
        layers.append("Landlock")
        enforced.append(_LANDLOCK)
    else:
        left.append(
            "this kernel has no Landlock: nothing stands behind the mounts, and named pipes outside home "
            "folders that the user can write can be written"
        )
    if bubblewrap.seccomp:
        layers.append("seccomp")
        enforced.append(_SECCOMP)
    else:
        left.append(
            "system calls are not filtered: a fault in the kernel is within reach, every family of sockets "
            "can be made, vsock among them, and programs can be left with their owner's rights (set-user-id)"
        )
    if network is not None:
        hosts = ", ".join(str(entry) for entry in network.allowed.entries)
        enforced[enforced.index(_NO_NETWORK)] = (
            f"network: only {hosts}, through a proxy that checks names and addresses and logs each connection"
        )
        left.append("what an allowed host is sent, and what it passes on to others, is not looked at")
        left += [
            f"connections go through the proxy of your environment, {proxy}: addresses are not checked"
            for proxy in network.unchecked
        ]
    return {
        "mechanism": " + ".join(layers),
        "tier": "A" if bubblewrap.landlock and bubblewrap.seccomp else "B",
        "program": str(bubblewrap.program),
        "enforced": enforced,
        "not_enforced": left,
        **({"network": [str(entry) for entry in network.allowed.entries]} if network is not None else {}),
    }
