from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agent import events
from agent.recovery import recovered
from engine.request import ToolCall
from tests.agent.running import run
from tests.conftest import GitRepo
from tests.scripted_engine import malformed, say
from tools import builtin_tools

EDIT = builtin_tools()["edit"].parameters()


def read(arguments: str) -> dict[str, object] | None:
    whole = '{"name": "edit", "arguments": ' + arguments + "}"
    text = recovered(ToolCall(id="1", name="edit", arguments=whole, problem="not JSON"), EDIT)
    return None if text is None else json.loads(text)


def test_a_docstring_with_bare_quotes():
    meant = {"path": "a.py", "old": '    """Mean."""\n    return 1', "new": '    """Mean."""\n    return "2"'}
    written = json.dumps(meant).replace('\\"', '"')

    assert read(written) == meant


def test_raw_newlines_and_other_values():
    written = '{\n"old": "x = "a"\ny", "replace_all": true, "path": "a.py", "new": "z"\n}'

    assert read(written) == {"old": 'x = "a"\ny', "replace_all": True, "path": "a.py", "new": "z"}


@pytest.mark.parametrize(
    "written",
    [
        '{"path": "a.py", "old": "x", "new": "f("", "new": "")"}',  # the code looks like an argument
        '{"path": "a.py", "old": "x" "new": "y"}',
        '{"path": "a.py", "old": "x", "unknown": "y"z"}',
        '{"path": "a.py", "old": "x", "new": "y',
        '{"path": "a.py", "old": "\\x"", "new": "y"}',
        "",
        '{"path": ' + '"' * 5000,
    ],
)
def test_what_is_in_doubt_is_left(written: str):
    assert read(written) is None


@given(st.text('ab"\\\n,:{} ', max_size=12), st.text('ab"\\\n,:{} ', max_size=12))
def test_never_something_else_than_what_was_meant(old: str, new: str):
    meant = {"path": "a.py", "old": old, "new": new}
    bare = "{" + ", ".join(f'"{key}": "{_bare(value)}"' for key, value in meant.items()) + "}"

    assert read(bare) in (None, meant)


def _bare(text: str) -> str:
    """As a model writes it: everything escaped but the quotes."""
    return json.dumps(text)[1:-1].replace('\\"', '"')


async def test_the_call_is_run(git_repo: GitRepo):
    repo = git_repo({"a.py": '"""Doc."""\nx = "a"\n'})
    written = '{"name": "edit", "arguments": {"path": "a.py", "old": "x = "a"", "new": "x = "b""}}'
    ran = await run(repo, [malformed("edit", written, "not valid JSON"), say("Done.")])

    assert (repo / "a.py").read_text() == '"""Doc."""\nx = "b"\n'
    assert ran.of(events.ToolCallEvent)[0].arguments == {"path": "a.py", "old": 'x = "a"', "new": 'x = "b"'}
