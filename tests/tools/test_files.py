"""read, list and write."""

from __future__ import annotations

import pytest

from tests.tools.calling import OpenContext, call, content

TEN = "".join(f"row {n}\n" for n in range(1, 11))


async def test_read_numbers_the_lines(open_context: OpenContext) -> None:
    ctx = await open_context({"a.txt": TEN})

    whole = await call(ctx, "read", path="a.txt")
    part = await call(ctx, "read", path="a.txt", start=3, end=4)

    assert whole.text.split("\n")[:2] == ["    1→row 1", "    2→row 2"]
    assert whole.text.count("\n") == 9
    assert part.text == "    3→row 3\n    4→row 4\n[lines 3-4 of 10]"


async def test_read_cuts_the_tail_and_says_how_to_go_on(open_context: OpenContext) -> None:
    ctx = await open_context({"a.txt": TEN}, budget=40)

    result = await call(ctx, "read", path="a.txt")

    assert result.text.endswith("[lines 1-3 of 10; go on with read path=a.txt start=4]")


async def test_read_shows_no_escapes_and_says_that_they_are_there(open_context: OpenContext) -> None:
    ctx = await open_context({"a.txt": "a\x1b[31mb\n"})

    result = await call(ctx, "read", path="a.txt")

    assert result.text == "    1→ab\n[control characters in these lines are not shown]"


@pytest.mark.parametrize(
    "path, said",
    [
        ("i.png", "is a PNG image (10 bytes); `read` shows text files only."),
        ("b.bin", "is binary data"),
        ("none.txt", "There is no 'none.txt'"),
        ("/etc/passwd", "absolute"),
        ("../x", "leaves the workspace"),
        ("d", "is a folder"),
    ],
)
async def test_read_refuses_in_a_sentence(open_context: OpenContext, path: str, said: str) -> None:
    files = {"i.png": b"\x89PNG\r\n\x1a\n\0\0", "b.bin": b"ab\0cd", "d/x.txt": "x\n"}
    ctx = await open_context(files)

    result = await call(ctx, "read", path=path)

    assert not result.ok
    assert said in result.text


async def test_read_at_the_edges(open_context: OpenContext) -> None:
    ctx = await open_context({"empty.txt": "", "a.txt": TEN, "utf16.txt": "hé\r\n".encode("utf-16")})

    assert (await call(ctx, "read", path="empty.txt")).text == "empty.txt is empty."
    assert "has 10 lines" in (await call(ctx, "read", path="a.txt", start=11)).text
    assert "range is empty" in (await call(ctx, "read", path="a.txt", start=4, end=2)).text
    assert (await call(ctx, "read", path="utf16.txt")).text == "    1→hé"


async def test_list_is_a_tree_without_ignored_files(open_context: OpenContext) -> None:
    ctx = await open_context(
        {".gitignore": "*.log\n", "a.py": "", "b.log": "", "src/c.py": "", "src/deep/er/d.py": ""}
    )

    result = await call(ctx, "list")

    assert result.text == (
        "./\n  .gitignore\n  a.py\n  src/\n    c.py\n    deep/ (1 files)\n[4 files in all]"
    )


async def test_list_shows_odd_names_on_one_line_each(open_context: OpenContext) -> None:
    ctx = await open_context({"a\n[9 files in all]": "", "b\udcff\u200b": ""})

    result = await call(ctx, "list")

    assert result.text == "./\n  a\\n[9 files in all]\n  b\\udcff\\u200b\n[2 files in all]"
    result.model_dump_json()


async def test_list_of_a_folder_and_deeper(open_context: OpenContext) -> None:
    ctx = await open_context({"a.py": "", "src/c.py": "", "src/deep/er/d.py": ""})

    result = await call(ctx, "list", path="src/", depth=9)

    assert result.text == "src/\n  c.py\n  deep/\n    er/\n      d.py\n[2 files in all]"


async def test_list_keeps_a_long_tree_re_readable(open_context: OpenContext) -> None:
    ctx = await open_context({f"file_{n:03}.py": "" for n in range(100)}, budget=300)

    result = await call(ctx, "list")

    assert "left out" in result.text and result.text.startswith("./\n  file_000.py")
    assert "file_099.py" in (ctx.outputs.get("o1") or "")


async def test_list_of_what_is_not_there(open_context: OpenContext) -> None:
    ctx = await open_context({"a.py": ""})

    result = await call(ctx, "list", path="nowhere")

    assert not result.ok
    assert "nowhere" in result.text


async def test_write_creates_a_file_and_its_folders(open_context: OpenContext) -> None:
    ctx = await open_context({})

    result = await call(ctx, "write", path="new/deep/a.py", content="x = 1\n")

    assert result.ok and result.text == "Created new/deep/a.py (1 line)."
    assert await content(ctx, "new/deep/a.py") == b"x = 1\n"


async def test_write_replaces_and_keeps_line_ends_and_bom(open_context: OpenContext) -> None:
    ctx = await open_context({"a.txt": b"\xef\xbb\xbfone\r\ntwo\r\n"})

    result = await call(ctx, "write", path="a.txt", content="one\nthree\n")

    assert result.ok and result.text.startswith("Replaced")
    assert await content(ctx, "a.txt") == b"\xef\xbb\xbfone\r\nthree\r\n"


@pytest.mark.parametrize(
    "path, text, said",
    [
        ("a.py", "", "holds 6 bytes"),
        ("a.py", "x = (\n", "would not parse"),
        ("new.py", "def f(:\n", "would not parse"),
        ("a.py", "x = 1\n", "nothing would change"),
        ("i.png", "text", "is a PNG image"),
        (".git/config", "x", "git's own"),
        ("../a.py", "x", "leaves the workspace"),
    ],
)
async def test_write_refuses_in_a_sentence(
    open_context: OpenContext, path: str, text: str, said: str
) -> None:
    ctx = await open_context({"a.py": "x = 1\n", "i.png": b"\x89PNG\r\n\x1a\n\0\0"})

    result = await call(ctx, "write", path=path, content=text)

    assert not result.ok
    assert said in result.text
    assert await content(ctx) == b"x = 1\n"


PARSER = """\
import os
from typing import overload


def load(path):
    return open(path).read()


if os.name == "nt":
    def separator():
        return ";"


class Parser:
    def feed(self, text):
        self.text = text

    def close(self):
        pass

    class Error(Exception):
        def render(self):
            return ""


async def main():
    pass
"""


async def test_write_names_what_the_new_text_no_longer_defines(open_context: OpenContext) -> None:
    ctx = await open_context({"a.py": PARSER})
    kept = "class Parser:\n    def feed(self, text):\n        self.text = text\n\n\nmain = print\n"
    result = await call(ctx, "write", path="a.py", content=kept)

    assert result.ok and result.data["gone"] == ["load", "separator", "Parser.close", "Parser.Error"]
    assert result.text == (
        "Replaced a.py (6 lines). It no longer defines load, separator, Parser.close, Parser.Error. "
        "If that was not meant, put them back."
    )


LOAD = "def load(): pass\n"
PATTERNS = ["[1, *load]", "{2: 3, **load}", "load"]


@pytest.mark.parametrize(
    ("path", "before", "after"),
    [
        ("a.py", LOAD, "from other import load\n"),
        ("a.py", LOAD, "try:\n    load = 1\nexcept E:\n    pass\n"),
        ("a.py", LOAD, "from other import *\n"),
        ("a.py", LOAD, "with open(0) as (load, other):\n    pass\n"),
        ("a.py", LOAD, "for load in range(3):\n    pass\n"),
        ("a.py", LOAD, "if (load := 1):\n    pass\n"),
        *(("a.py", LOAD, f"match 1:\n    case {case}:\n        pass\n") for case in PATTERNS),
        ("a.py", LOAD + "del load\n", "y = 1\n"),
        ("a.py", f"class A:\n    {LOAD}    del load\n", "class A:\n    pass\n"),
        ("a.py", "x = 1\n", "y = 1\n"),
        ("a.py", "def load(:\n", "y = 1\n"),
        ("a.txt", LOAD, "nothing\n"),
        ("a.py", "", "y = 1\n"),
    ],
    ids=[
        *("imported", "assigned", "a star", "with", "for", "inside an expression"),
        *(*PATTERNS, "deleted", "deleted in a class"),
        *("a variable", "did not parse", "no Python", "was empty"),
    ],
)
async def test_write_names_nothing_that_is_still_there(
    open_context: OpenContext, path: str, before: str, after: str
) -> None:
    ctx = await open_context({path: before})
    result = await call(ctx, "write", path=path, content=after)
    assert result.ok and "gone" not in result.data and "no longer" not in result.text


async def test_write_names_some_of_many(open_context: OpenContext) -> None:
    ctx = await open_context({"a.py": "".join(f"def f{n}(): pass\n" for n in range(25))})
    result = await call(ctx, "write", path="a.py", content="x = 1\n")

    assert "f0, f1, " in result.text and "f19 and 5 more." in result.text and "f20" not in result.text
    assert len(result.data["gone"]) == 25


async def test_the_same_write_again_says_that_nothing_changes(open_context: OpenContext) -> None:
    ctx = await open_context({"a.py": "x = 1\r\n"})
    assert (await call(ctx, "write", path="a.py", content="y = 1\n")).ok
    again = await call(ctx, "write", path="a.py", content="y = 1\n")

    assert again.text == "a.py holds exactly this already: nothing would change."
