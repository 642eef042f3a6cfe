"""Trials in real forks: verdicts, time limits, stale bytecode, what is left behind."""

from __future__ import annotations

import os
from pathlib import Path

from agent.search.candidates import Edit, Sieve
from agent.search.trial import Judge, Trials, decode, encode
from sandbox import Sandbox
from tests.conftest import GitRepo

PYTEST = ("python", "-m", "pytest", "-q", "--disable-plugin-autoload", "-p", "no:cacheprovider")
CODE = "def f(x):\n    return x + 2\n\n\ndef g(x):\n    return x\n"
TESTS = "from a import f, g\n\ndef test_f():\n    assert f(1) == 2\n\ndef test_g():\n    assert g(1) == 1\n"


def edit(old: str, new: str) -> Edit:
    found = Sieve("a.py", CODE).admit(CODE.replace(old, new), 0.0)
    assert found is not None
    return found


async def verdicts(repo: Path, edits: list[Edit], judge: Judge) -> list[str]:
    sandbox = await Sandbox.open(repo)
    try:
        fork = await sandbox.workspace.fork()
        trials = Trials(judge, {"a.py": CODE.encode()}, [fork])
        found = [(await trials.run(edit)).verdict for edit in edits]
        assert (await sandbox.workspace.read("a.py")).decode() == CODE, "the repository itself is untouched"
        return found
    finally:
        await sandbox.close()


def judge(**changes) -> Judge:
    fields = {
        "command": PYTEST,
        "quick": (*PYTEST, "-x", "test_a.py::test_f"),
        "quick_seconds": 1.0,
        "command_seconds": 1.0,
        "passing": 1,
        "counts": True,
    }
    return Judge(**{**fields, **changes})


async def test_verdicts(git_repo: GitRepo):
    repo = git_repo({"a.py": CODE, "test_a.py": TESTS})
    edits = [
        edit("x + 2", "x + 3"),
        edit("x + 2", "x + 1"),
        edit("x + 2", "x.nothing"),
        edit("def f(x):\n", "raise SystemExit\ndef f(x):\n"),
        edit("    return x + 2", "    while x:\n        x = 1"),
    ]
    assert await verdicts(repo, edits, judge()) == ["failed", "passed", "failed", "broken", "timeout"]


async def test_passing_the_failing_test_alone_is_not_enough(git_repo: GitRepo):
    repo = git_repo({"a.py": CODE, "test_a.py": TESTS})
    both = CODE.replace("x + 2", "x + 1").replace("    return x\n", "    return 0\n")
    found = Sieve("a.py", CODE).admit(both, 0.0)
    assert found is not None
    assert await verdicts(repo, [found], judge()) == ["failed"]


async def test_tests_that_vanish_are_no_repair(git_repo: GitRepo):
    repo = git_repo({"a.py": CODE, "test_a.py": TESTS})
    skips = edit("def f(x):\n", "import pytest; pytest.skip(allow_module_level=True)\ndef f(x):\n")
    assert await verdicts(repo, [skips], judge(quick=PYTEST)) == ["broken"]


async def test_bytecode_of_the_same_size_and_second_does_not_hide_an_edit(git_repo: GitRepo):
    repo = git_repo({"a.py": CODE, "test_a.py": TESTS, ".gitignore": "__pycache__/\n"})
    sandbox = await Sandbox.open(repo)
    try:
        await sandbox.workspace.run(["python", "-c", "import a"], env={"PYTHONDONTWRITEBYTECODE": ""})
    finally:
        await sandbox.close()
    stamp = os.stat(repo / "a.py").st_mtime + 0.2
    assert list((repo / "__pycache__").glob("a.*.pyc"))
    assert int(stamp) >= 0
    assert await verdicts(repo, [edit("x + 2", "x + 1")], judge()) == ["passed"]


def test_bytes_and_text():
    for data in (b"a\r\nb\r\n", b"\xef\xbb\xbfa\n", b"a\nb"):
        text = decode(data)
        assert text is not None and "\r" not in text and not text.startswith("\ufeff")
        assert encode(text, data) == data
    assert decode(b"\xff\xfe\x00") is None
