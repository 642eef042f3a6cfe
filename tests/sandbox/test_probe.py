"""The probe notices each layer that does not hold: each is broken in turn, and its attempt has to work."""

from __future__ import annotations

import asyncio
import struct
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from sandbox import Sandbox, seccomp
from sandbox.box import _attempts
from sandbox.bubblewrap import Bubblewrap
from sandbox.policy import Mount, Policy

from .breaking_out import root_only
from .conftest import Opener
from .mutants import without

ALLOW_ALL = struct.pack("<HBBI", 0x06, 0, 0, seccomp.ALLOW)


class Breaking:
    """What a test may break: the arguments of bubblewrap, our programs inside, the layers, the policy."""

    def __init__(
        self, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, bubblewrap: Bubblewrap, policy: Policy
    ) -> None:
        self.bubblewrap, self.policy = bubblewrap, policy
        self._monkeypatch, self._tmp_path = monkeypatch, tmp_path

    def argument(self, old: list[str], new: list[str]) -> None:
        right = Bubblewrap.arguments

        def wrong(own: Bubblewrap, policy: Policy) -> list[str]:
            text, was, now = ("\0".join(words) for words in (right(own, policy), old, new))
            assert text.count(was) == 1, old
            return [word for word in text.replace(was, now).split("\0") if word]

        self._monkeypatch.setattr(Bubblewrap, "arguments", wrong)

    def inside(self, program: str, line: str, instead: str = "pass") -> None:
        without(self._monkeypatch, self._tmp_path, program, line, instead)

    def environment(self) -> None:
        real = asyncio.create_subprocess_exec

        async def telling(*argv, env=None, **rest):
            return await real(*argv, env={"TOLD": "secret"} if env == {} else env, **rest)

        self._monkeypatch.setattr(asyncio, "create_subprocess_exec", telling)

    def layers(self, **changes) -> None:
        self.bubblewrap = replace(self.bubblewrap, **changes)


def _root_writable(broken: Breaking) -> None:
    broken.argument(["--ro-bind", "/", "/", "--dev"], ["--bind", "/", "/", "--dev"])


def _kernel_writable(broken: Breaking) -> None:
    broken.layers(landlock=False)
    broken.inside("namespaces.py", '("sys", ', "(")


def _environment_shown(broken: Breaking) -> None:
    broken.layers(landlock=False)
    broken.environment()
    broken.argument(["--clearenv"], [])
    broken.inside("confine.py", "prctl(SET_DUMPABLE, 0)")


def _network_shared(broken: Breaking) -> None:
    broken.argument(["--unshare-all"], ["--unshare-pid", "--unshare-ipc"])


def _capabilities_left(broken: Breaking) -> None:
    broken.layers(landlock=False, seccomp=None)
    broken.inside("confine.py", "lose_capabilities()\n    limit(limits)", "limit(limits)")


def _namespaces_left(broken: Breaking) -> None:
    broken.layers(seccomp=None)
    broken.inside("serve.py", "    no_more_user_namespaces()\n", "")


def _filter_open(broken: Breaking) -> None:
    broken.layers(seccomp=ALLOW_ALL)


def _landlock_left_out(broken: Breaking) -> None:
    broken.inside("confine.py", 'if settings["landlock"]:', "if False:")


def _home_read_only(broken: Breaking) -> None:
    broken.policy = replace(broken.policy, home=Path("/usr"))


def _workspace_read_only(broken: Breaking) -> None:
    root = broken.policy.root
    broken.policy = replace(broken.policy, mounts=(Mount(root, root),))


BROKEN: dict[str, Callable[[Breaking], None]] = {
    "writable mounts": _root_writable,
    "kernel parameters": _kernel_writable,
    "first environment": _environment_shown,
    "network": _network_shared,
    "capabilities": _capabilities_left,
    "remount": _capabilities_left,
    "namespaces": _namespaces_left,
    "system calls": _filter_open,
    "beyond mounts": _landlock_left_out,
    "no home": _home_read_only,
    "no workspace": _workspace_read_only,
}


@pytest.mark.parametrize(
    "name",
    [pytest.param(name, marks=root_only) if name == "kernel parameters" else name for name in BROKEN],
)
async def test_a_broken_layer_is_noticed(
    open_sandbox: Opener, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    box: Sandbox = await open_sandbox()
    bubblewrap = box._room.launcher.bubblewrap
    assert bubblewrap is not None and bubblewrap.landlock and bubblewrap.seccomp, box.describe()
    canary = box._room.scratch.path / "canary"
    broken = Breaking(monkeypatch, tmp_path, bubblewrap, box.workspace._policy)
    assert await _attempts(broken.bubblewrap, broken.policy, canary) == set()
    BROKEN[name](broken)
    assert name in await _attempts(broken.bubblewrap, broken.policy, canary)
