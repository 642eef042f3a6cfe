"""Which failures the sandbox takes upon itself, and above all which not."""

from __future__ import annotations

import os
import sys
import textwrap
from pathlib import Path

import pytest

from sandbox import Completed, Sandbox

from .conftest import Opener


async def explained(box: Sandbox, *argv: str) -> str | None:
    return box.explain(await box.workspace.run(argv, seconds=60))


async def python(box: Sandbox, program: str) -> str | None:
    return await explained(box, os.path.realpath(sys.executable), "-c", program)


async def test_missing_program(box: Sandbox) -> None:
    told = await explained(box, "no-such-program")
    assert told and "no-such-program" in told
    told = await explained(box, "./none.sh")
    assert told and "./none.sh" in told
    assert await explained(box, "sh", "-c", "no-such-program") is None


async def test_network(box: Sandbox) -> None:
    told = await python(box, "import urllib.request as r; r.urlopen('http://example.invalid')")
    assert told and "needs the network" in told and "--unsafe-no-sandbox" in told
    told = await python(box, "import socket; socket.create_connection(('192.0.2.1', 80), 3)")
    assert told and "needs the network" in told
    assert await python(box, "import socket; socket.create_connection(('127.0.0.1', 9), 3)") is None


async def test_path_outside(box: Sandbox, home: Path, tmp_path: Path) -> None:
    if os.access("/etc", os.W_OK):
        for argv in (
            ["touch", "/etc/ostro-test"],
            ["sh", "-c", "echo > /etc/ostro-test"],
            ["mkdir", "/etc/ostro-test"],
        ):
            told = await explained(box, *argv)
            assert told and "/etc/ostro-test" in told, argv
    # Without the sandbox it would fail as well.
    assert await python(box, "open('/proc/version', 'w')") is None
    assert await python(box, "open('/no/such/folder/x', 'w')") is None
    (home / "data.csv").write_text("1")
    told = await python(box, f"open({str(home / 'data.csv')!r})")
    assert told and "hides" in told
    assert await python(box, f"open({str(home / 'other.csv')!r})") is None


async def test_ordinary_failures_are_the_programs_own(box: Sandbox) -> None:
    assert await explained(box, "false") is None
    assert await python(box, "assert 1 == 2, 'Permission denied: /etc/passwd'") is None
    assert await explained(box, "sh", "-c", "echo 'Name or service not known'; true") is None
    timed_out = Completed(("x",), None, "Network is unreachable", 1.0, True, False)
    assert box.explain(timed_out) is None


FAILING = """
def test_network():
    import socket
    socket.getaddrinfo("example.invalid", 80)
"""
OWN = """
def test_message():
    assert "Temporary failure in name resolution" == "other"
def test_sum():
    assert 1 + 1 == 3
"""


@pytest.mark.parametrize("runner", ["pytest", "unittest"])
async def test_failing_tests(
    repo: Path, monkeypatch: pytest.MonkeyPatch, open_sandbox: Opener, runner: str
) -> None:
    """Explained where each failing test failed for it; one test of another kind and it is not."""
    folder = str(Path(sys.executable).parent)
    monkeypatch.setenv("PATH", os.pathsep.join([folder, os.environ["PATH"]]))
    box = await open_sandbox()
    network, own = FAILING, OWN
    if runner == "unittest":
        network = "import unittest\nclass A(unittest.TestCase):\n" + _indent(FAILING)
        own = "import unittest\nclass B(unittest.TestCase):\n" + _indent(OWN)
    command = ["python", "-m", runner]
    (repo / "test_network.py").write_text(network)
    told = await explained(box, *command)
    assert told and "needs the network" in told
    (repo / "test_own.py").write_text(own)
    assert await explained(box, *command) is None
    (repo / "test_network.py").unlink()
    assert await explained(box, *command) is None


async def test_nothing_is_explained_without_a_sandbox(open_sandbox: Opener) -> None:
    box = await open_sandbox(unsafe=True)
    assert box.explain(Completed(("x",), 1, "Network is unreachable", 1.0, False, False)) is None
    told = await explained(box, "no-such-program")
    assert told and "no-such-program" in told


def _indent(text: str) -> str:
    return textwrap.indent(text.replace("():", "(self):"), "    ")
