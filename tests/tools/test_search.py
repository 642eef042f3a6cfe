from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from tests.tools.calling import OpenContext, call
from tools import search_inside
from tools.search import _glob

FILES = {
    ".gitignore": "*.log\n",
    "a.py": "import os\n\ndef area(w):\n    return w  # Area\n",
    "src/b.py": "area(1)\r\narea(2)\r\n",
    "src/c.txt": "area\n",
    "d.log": "area\n",
    "bin.dat": b"area\0\n",
}


async def test_matches_come_with_file_and_line(open_context: OpenContext) -> None:
    ctx = await open_context(FILES)

    result = await call(ctx, "search", pattern=r"area\(")

    assert result.text == "a.py:3: def area(w):\nsrc/b.py:1: area(1)\nsrc/b.py:2: area(2)"
    assert result.data == {"matches": 3, "files": 2}


@pytest.mark.parametrize(
    "arguments, files",
    [
        ({"pattern": "area"}, {"a.py", "src/b.py", "src/c.txt"}),
        ({"pattern": "area", "path": "src"}, {"src/b.py", "src/c.txt"}),
        ({"pattern": "area", "path": "src/c.txt"}, {"src/c.txt"}),
        ({"pattern": "area", "glob": "*.py"}, {"a.py", "src/b.py"}),
        ({"pattern": "area", "glob": "src/*"}, {"src/b.py", "src/c.txt"}),
        ({"pattern": "(1)", "fixed": True}, {"src/b.py"}),
        ({"pattern": "AREA", "ignore_case": True}, {"a.py", "src/b.py", "src/c.txt"}),
        ({"pattern": "^area$"}, {"src/c.txt"}),
    ],
)
async def test_where_and_how_to_look(open_context: OpenContext, arguments: dict, files: set[str]) -> None:
    ctx = await open_context(FILES)

    result = await call(ctx, "search", **arguments)

    assert {line.split(":")[0] for line in result.text.split("\n")} == files


async def test_no_match_is_an_answer(open_context: OpenContext) -> None:
    ctx = await open_context(FILES)

    result = await call(ctx, "search", pattern="absent", glob="*.py")

    assert result.ok
    assert result.text == "No line in the repository (files *.py) matches 'absent'."


async def test_matches_a_file_and_in_all_are_bounded(open_context: OpenContext) -> None:
    ctx = await open_context({f"f{n:02}.txt": "hit\n" * 30 for n in range(20)}, budget=100_000)

    result = await call(ctx, "search", pattern="hit")

    assert result.text.count("f00.txt:") == 20
    assert result.text.count(": hit") == 200
    assert "only the first 200 matches" in result.text
    assert "at most 20 matches a file" in result.text


async def test_a_long_line_is_clipped(open_context: OpenContext) -> None:
    ctx = await open_context({"a.txt": "needle " + "x" * 5000 + "\n"})

    result = await call(ctx, "search", pattern="needle")

    assert len(result.text) < 400


@pytest.mark.parametrize(
    "arguments, said",
    [
        ({"pattern": "("}, "The search failed"),
        ({"pattern": "a\nb"}, "line feed"),
        ({"pattern": "a", "path": "nowhere"}, "There is no 'nowhere'"),
        ({"pattern": ""}, "at least 1 character"),
    ],
)
async def test_a_bad_request_is_explained(open_context: OpenContext, arguments: dict, said: str) -> None:
    ctx = await open_context(FILES)

    result = await call(ctx, "search", **arguments)

    assert not result.ok
    assert said in result.text


def test_the_program_that_stands_in_for_ripgrep(tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_text("one\nTwo\ntwo\n")
    asked = {
        "pattern": "two", "ignore_case": True, "paths": ["a.txt", "missing.txt"],
        "per_file": 1, "total": 9, "longest": 80,
    }  # fmt: skip

    done = subprocess.run(
        [sys.executable, "-I", "-S", search_inside.__file__],
        cwd=tmp_path, input=json.dumps(asked), capture_output=True, text=True, check=False,
    )  # fmt: skip

    assert (done.returncode, done.stdout) == (0, "a.txt\x002:Two\n")


@pytest.mark.parametrize(
    "glob, path, matches",
    [
        ("*.py", "a.py", True),
        ("*.py", "x/y/a.py", True),
        ("*.py", "a.pyc", False),
        ("src/*.py", "src/a.py", True),
        ("src/*.py", "src/x/a.py", False),
        ("src/**/*.py", "src/x/y/a.py", True),
        ("src/**/*.py", "src/a.py", True),
        ("src/**", "src/x/a.txt", True),
        ("*.{py,pyi}", "x/a.pyi", True),
        ("[!a]?.txt", "bc.txt", True),
        ("[!a]?.txt", "ac.txt", False),
        ("a+b.txt", "a+b.txt", True),
        ("[", "[", True),
    ],
)
def test_globs(glob: str, path: str, matches: bool) -> None:
    import re

    assert bool(re.fullmatch(_glob(glob), path)) is matches
