"""The sandbox with one protection taken out: to see that something else notices, and that an attack which is
too dangerous to be run on the machine itself works where nothing but that protection is missing."""

from __future__ import annotations

import asyncio
import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from sandbox import seccomp, supervisor
from sandbox.bubblewrap import Bubblewrap
from sandbox.policy import Mount, Policy

without_and_with = pytest.mark.parametrize("works", [True, False], ids=["without it", "sandboxed"])
"""A test of this kind takes the protection out where the attack `works`."""

NEW_ROOMS = "unshare(NEW_PROCESSES | NEW_MOUNTS | NEW_IPC)"
"""How `inside/namespaces.py` makes a command's own."""


def without(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, program: str, line: str, instead: str = "pass"
) -> None:
    """Sandboxes that are started from here on run a copy of our programs in which `line` is another one."""
    folder = tmp_path / "mutant" / "inside"
    if not folder.exists():
        shutil.copytree(supervisor.INSIDE, folder)
    text = (folder / program).read_text()
    assert text.count(line) == 1, f"{line!r} is in {program} {text.count(line)} times"
    (folder / program).write_text(text.replace(line, instead))
    monkeypatch.setattr(supervisor, "INSIDE", folder)


@dataclass(frozen=True)
class _Writable(Mount):
    writable: bool = True


class Weaker:
    """Takes protections out of the sandboxes that the test opens from here on, which no probe looks at."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
        self._monkeypatch = monkeypatch
        self._tmp_path = tmp_path

    def without(self, program: str, line: str, instead: str = "pass") -> None:
        """Of one of the programs inside, as the function above."""
        self._unprobed()
        without(self._monkeypatch, self._tmp_path, program, line, instead)

    def without_option(self, *words: str) -> None:
        """Of bubblewrap's."""
        self._unprobed()
        real = Bubblewrap.arguments

        def arguments(own: Bubblewrap, policy: Policy) -> list[str]:
            given, count = real(own, policy), len(words)
            [at] = [n for n in range(len(given)) if tuple(given[n : n + count]) == words]
            return given[:at] + given[at + count :]

        self._monkeypatch.setattr(Bubblewrap, "arguments", arguments)

    def without_landlock(self) -> None:
        self._unprobed()
        self._monkeypatch.setattr("sandbox.box.landlock_version", lambda: 0)

    def without_filter(self) -> None:
        self._unprobed()
        self._monkeypatch.setattr(seccomp, "program", lambda *_machine, **_options: None)

    def with_capabilities(self) -> None:
        """Commands keep the supervisor's."""
        self.without("system_calls.py", "    _checked(C.capset(", "    (C.capget(")
        self.without("confine.py", "prctl(AMBIENT, _CLEAR_AMBIENT)")

    def with_shared_processes(self) -> None:
        """Commands share one process namespace, the sandbox's; what they signal is not confined either."""
        self.without("namespaces.py", NEW_ROOMS, "unshare(NEW_MOUNTS | NEW_IPC)")
        # The sandbox's own /proc shows them; a user without rights may mount no other one of the same.
        mounting = 'mount("proc", "/proc", "proc", NO_SETUID | NO_DEVICES | NO_PROGRAMS)'
        self.without("namespaces.py", mounting)
        self.without("confine.py", "(_SIGNALS | (", "(0 | (")

    def with_the_environment(self) -> None:
        """Bubblewrap is started with the caller's."""
        self._unprobed()
        real = asyncio.create_subprocess_exec

        async def started(*argv: Any, env: Any = None, **options: Any) -> asyncio.subprocess.Process:
            return await real(*argv, env=env or None, **options)

        self._monkeypatch.setattr(asyncio, "create_subprocess_exec", started)

    def with_programs_that_can_be_written(self) -> Path:
        """The folder that Ostro's own programs lie in then, which is a copy."""
        self._unprobed()
        without(self._monkeypatch, self._tmp_path, "keeper.py", "import contextlib\n", "import contextlib\n")
        self._monkeypatch.setattr(supervisor, "Mount", _Writable)
        return supervisor.INSIDE

    def _unprobed(self) -> None:
        async def nothing_worked(*_words: object) -> set[str]:
            return set()

        self._monkeypatch.setattr("sandbox.box._attempts", nothing_worked)
