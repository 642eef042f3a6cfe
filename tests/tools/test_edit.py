from __future__ import annotations

import pytest

from tests.tools.calling import OpenContext, call, content

CODE = "def area(w, h):\n    if w < 0:\n        raise ValueError(w)\n    return w + h\n"


async def test_an_exact_piece_is_replaced_and_the_new_lines_are_shown(open_context: OpenContext) -> None:
    ctx = await open_context({"a.py": CODE})

    result = await call(ctx, "edit", path="a.py", old="w + h", new="w * h")

    assert result.ok, result.text
    assert await content(ctx) == CODE.replace("+", "*").encode()
    assert "    4→    return w * h" in result.text
    assert "+    return w * h" in result.data["diff"]


async def test_a_path_below_the_repository_may_be_absolute(open_context: OpenContext) -> None:
    ctx = await open_context({"a.py": CODE})

    result = await call(ctx, "edit", path=f"{ctx.workspace.root}/a.py", old="w + h", new="w * h")

    assert result.ok, result.text


async def test_a_shifted_block_is_found_and_its_replacement_re_indented(open_context: OpenContext) -> None:
    ctx = await open_context({"a.py": CODE})
    old = "if w < 0:\n    raise ValueError(w)  \nreturn w + h\n"
    new = "if w < 0 or h < 0:\n    raise ValueError(w, h)\nreturn w * h\n"

    result = await call(ctx, "edit", path="a.py", old=old, new=new)

    assert result.ok, result.text
    assert result.data["how"] == "white space"
    assert await content(ctx) == (
        b"def area(w, h):\n    if w < 0 or h < 0:\n        raise ValueError(w, h)\n    return w * h\n"
    )


async def test_a_miss_shows_the_nearest_region_and_changes_nothing(open_context: OpenContext) -> None:
    ctx = await open_context({"a.py": CODE})

    result = await call(
        ctx, "edit", path="a.py", old="    if w <= 0:\n        raise ValueError(h)", new="pass"
    )

    assert not result.ok
    assert "lines 2-3" in result.text
    assert "-      →    if w <= 0:" in result.text
    assert "+     2→    if w < 0:" in result.text
    assert (result.data["first_line"], result.data["last_line"]) == (2, 3)
    assert await content(ctx) == CODE.encode()


async def test_a_miss_with_nothing_alike_says_so(open_context: OpenContext) -> None:
    ctx = await open_context({"a.py": CODE})

    result = await call(ctx, "edit", path="a.py", old="zzzzzzzz = qqqqqqq()", new="x")

    assert not result.ok
    assert "nothing there resembles it" in result.text


async def test_a_second_identical_edit_is_told_that_it_was_made(open_context: OpenContext) -> None:
    ctx = await open_context({"a.py": CODE})
    await call(ctx, "edit", path="a.py", old="return w + h", new="return w * h")

    result = await call(ctx, "edit", path="a.py", old="return w + h", new="return w * h")

    assert "stands there already, at line 4" in result.text


async def test_an_ambiguous_piece_is_refused_with_its_lines(open_context: OpenContext) -> None:
    ctx = await open_context({"a.py": "x = 1\ny = 2\nx = 1\n"})

    result = await call(ctx, "edit", path="a.py", old="x = 1", new="x = 3")

    assert not result.ok
    assert "2 times (lines 1, 3)" in result.text
    assert await content(ctx) == b"x = 1\ny = 2\nx = 1\n"


async def test_replace_all_replaces_every_place(open_context: OpenContext) -> None:
    ctx = await open_context({"a.py": "x = 1\ny = 2\nx = 1\n"})

    result = await call(ctx, "edit", path="a.py", old="x = 1", new="x = 3", replace_all=True)

    assert result.ok and "2 places" in result.text
    assert await content(ctx) == b"x = 3\ny = 2\nx = 3\n"


async def test_an_edit_that_breaks_the_syntax_is_refused_with_the_line(open_context: OpenContext) -> None:
    ctx = await open_context({"a.py": CODE})

    result = await call(ctx, "edit", path="a.py", old="if w < 0:", new="if w < 0")

    assert not result.ok
    assert "expected ':' (line 2" in result.text
    assert "    2→    if w < 0" in result.text
    assert await content(ctx) == CODE.encode()


async def test_a_file_that_did_not_parse_before_may_be_edited(open_context: OpenContext) -> None:
    ctx = await open_context({"a.py": "def f(:\n    return (\n"})

    result = await call(ctx, "edit", path="a.py", old="def f(:", new="def f():")

    assert result.ok, result.text


async def test_a_file_of_another_language_is_not_parsed(open_context: OpenContext) -> None:
    ctx = await open_context({"a.js": "let a = 1;\n"})

    result = await call(ctx, "edit", path="a.js", old="let a = 1;", new="let a = (")

    assert result.ok, result.text


async def test_several_lines_for_one_quoted_without_indentation_are_indented_alike(
    open_context: OpenContext,
) -> None:
    ctx = await open_context({"a.py": CODE})

    result = await call(
        ctx, "edit", path="a.py", old="return w + h", new="if h < 0:\n    raise ValueError(h)\nreturn w * h"
    )

    assert result.ok, result.text
    assert (await content(ctx)).endswith(b"\n    if h < 0:\n        raise ValueError(h)\n    return w * h\n")


@pytest.mark.parametrize(
    "before, after",
    [
        (b"a = 1\r\nb = 2\r\nc = 3\r\n", b"a = 1\r\nb = 4\r\nd = 5\r\nc = 3\r\n"),
        (b"\xef\xbb\xbfa = 1\nb = 2\nc = 3", b"\xef\xbb\xbfa = 1\nb = 4\nd = 5\nc = 3"),
        (b"# coding: latin-1\na = '\xe9'\nb = 2\n", b"# coding: latin-1\na = '\xe9'\nb = 4\nd = 5\n"),
        (b"a = 1\r\nx = 0\nb = 2\r\nc = 3\n", b"a = 1\r\nx = 0\nb = 4\r\nd = 5\r\nc = 3\n"),
    ],
    ids=["crlf", "bom, no final newline", "latin-1", "mixed line ends"],
)
async def test_line_ends_encoding_and_final_newline_stay(
    open_context: OpenContext, before: bytes, after: bytes
) -> None:
    ctx = await open_context({"a.py": before})

    result = await call(ctx, "edit", path="a.py", old="b = 2", new="b = 4\nd = 5")

    assert result.ok, result.text
    assert await content(ctx) == after


async def test_a_character_that_the_encoding_lacks_is_refused(open_context: OpenContext) -> None:
    before = b"# coding: latin-1\na = '\xe9'\n"
    ctx = await open_context({"a.py": before})

    result = await call(ctx, "edit", path="a.py", old="a = ", new="a = '…' + ")

    assert not result.ok
    assert "U+2026" in result.text
    assert await content(ctx) == before


ENCODED = {
    "latin-1": ("Größe \xa7\r\nold\nß".encode("latin-1"), "é", b"\xe9"),
    "cp1252": (b"it\x92s 5 \x80\nold\r\n", "\u2019", b"\x92"),
    "utf-8, one stray byte": ("größe wäre\nold\n".encode() + b"\xff\xe9\n", "é", "é".encode()),
    "utf-8 with bom, one stray byte": (b"\xef\xbb\xbf" + "äöü\nold\n".encode() + b"\xff", "é", "é".encode()),
    "utf-16 be": (b"\xfe\xff" + "ä\nold\r\n".encode("utf-16-be"), "文", "文".encode("utf-16-be")),
}


@pytest.mark.parametrize("name", ENCODED)
async def test_no_byte_but_the_edited_ones_changes(open_context: OpenContext, name: str) -> None:
    before, new, encoded = ENCODED[name]
    ctx = await open_context({"a.txt": before})
    old = "old".encode("utf-16-be") if name.startswith("utf-16") else b"old"

    shown = await call(ctx, "read", path="a.txt")
    result = await call(ctx, "edit", path="a.txt", old="old", new=new)

    assert result.ok, result.text
    assert await content(ctx, "a.txt") == before.replace(old, encoded)
    shown.text.encode("utf-8")  # no lone surrogates: this goes to the journal and to the model


async def test_windows_quotes_can_be_read_and_edited(open_context: OpenContext) -> None:
    """As Latin-1 they were control characters, which `read` leaves out, so that no `old` could match."""
    ctx = await open_context({"a.txt": b"it\x92s\n"})

    assert (await call(ctx, "read", path="a.txt")).text == "    1→it\u2019s"
    assert (await call(ctx, "edit", path="a.txt", old="it\u2019s", new="it is")).ok
    assert await content(ctx, "a.txt") == b"it is\n"


async def test_a_change_made_meanwhile_is_not_lost(
    open_context: OpenContext, monkeypatch: pytest.MonkeyPatch
) -> None:
    ctx = await open_context({"a.txt": "one\ntwo\n"})
    read = ctx.workspace.read

    async def read_and_then_it_changes(path: str) -> bytes:
        data = await read(path)
        (ctx.workspace.root / path).write_text("one\ntwo\nby the user\n")
        return data

    monkeypatch.setattr(ctx.workspace, "read", read_and_then_it_changes)
    for tool, arguments in (("edit", {"old": "one", "new": "1"}), ("write", {"content": "x\n"})):
        (ctx.workspace.root / "a.txt").write_text("one\ntwo\n")
        result = await call(ctx, tool, path="a.txt", **arguments)
        assert not result.ok and "has changed since it was read" in result.text
    assert (ctx.workspace.root / "a.txt").read_text() == "one\ntwo\nby the user\n"


async def test_crlf_in_the_arguments_does_not_matter(open_context: OpenContext) -> None:
    ctx = await open_context({"a.txt": "a\nb\nc\n"})

    result = await call(ctx, "edit", path="a.txt", old="a\r\nb", new="a\r\nB")

    assert result.ok, result.text
    assert await content(ctx, "a.txt") == b"a\nB\nc\n"


@pytest.mark.parametrize(
    "arguments, said",
    [
        ({"path": "b.py", "old": "a", "new": "b"}, "There is no 'b.py'"),
        ({"path": "../b.py", "old": "a", "new": "b"}, "leaves the workspace"),
        ({"path": "a.py", "old": "", "new": "b"}, "`old` is empty"),
        ({"path": "a.py", "old": "x", "new": "x"}, "nothing would change"),
        ({"path": "i.png", "old": "x", "new": "y"}, "a PNG image"),
        ({"path": ".", "old": "x", "new": "y"}, "folder"),
    ],
)
async def test_what_cannot_be_edited_is_refused_in_one_sentence(
    open_context: OpenContext, arguments: dict, said: str
) -> None:
    ctx = await open_context({"a.py": CODE, "i.png": b"\x89PNG\r\n\x1a\n\0\0"})

    result = await call(ctx, "edit", **arguments)

    assert not result.ok
    assert said in result.text
    assert "Traceback" not in result.text


async def test_a_read_only_session_denies_and_names_it(open_context: OpenContext) -> None:
    ctx = await open_context({"a.py": CODE}, read_only=True)

    for tool, arguments in (
        ("edit", {"path": "a.py", "old": "w + h", "new": "w * h"}),
        ("write", {"path": "b.py", "content": "x = 1\n"}),
        ("shell", {"command": "touch b.py"}),
    ):
        result = await call(ctx, tool, **arguments)

        assert not result.ok
        assert result.data["denied"] is True
        assert "Denied" in result.text and tool in result.text

    assert await content(ctx) == CODE.encode()
    assert not await ctx.workspace.exists("b.py")
