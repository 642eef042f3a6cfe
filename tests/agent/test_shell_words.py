from __future__ import annotations

import shlex

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agent.shell_words import commands, names, plain_words

COMMIT = [
    "git commit -m x",
    "  git   commit",
    "/usr/bin/git commit",
    "cd a && git commit",
    "true;git commit",
    "true\ngit commit",
    "true|git commit",
    "(git commit)",
    "{ git commit; }",
    "git -C a -c user.name=x --no-pager commit",
    "git --git-dir=.git commit",
    "NAME=x git commit",
    "env NAME=x git commit",
    "timeout 5 git commit",
    "sh -c 'git commit'",
    "bash -lc \"cd a; sh -c 'git commit'\"",
    "eval 'git commit'",
    "echo $(git commit)",
    'echo "$(git commit)"',
    "echo `git commit`",
    "if true; then git commit; fi",
    "g'i't \"commit\"",
    "gi\\t commit",
    "git commit -m 'never closed",
    "xargs git commit",
    "git \\\n  commit \\\n  -m x",
    "git com\\\nmit",
    "bash -c $'git commit'",
    "sh -c -- 'git commit'",
    "sh -c -x 'git commit'",
    "env -S 'git commit'",
    "trap 'git commit' EXIT",
    "git --attr-source HEAD commit",
    "/usr/lib/git-core/git-commit -m x",
]


@pytest.mark.parametrize("line", COMMIT)
def test_a_commit_is_seen(line: str):
    assert names(line, ["git", "commit"])


@pytest.mark.parametrize(
    "line",
    [
        "git log --grep commit",
        "grep -rn 'git commit' .",
        "git status; echo commit",
        "git commit-graph",
        "ls git-commit",
        "",
    ],
)
def test_what_is_no_commit(line: str):
    assert not names(line, ["git", "commit"])


@pytest.mark.parametrize(
    "line",
    [
        "pytest -q; rm x", "pytest && rm x", "pytest | tee x", "pytest > x", "pytest &", "pytest $X",
        "pytest `x`", "A=b pytest", "pytest\nrm x", "pytest\rrm x", "pytest *", "pytest {a,b}", "pytest ~/x",
        "pytest 'x", "pytest $(x)",
        "pytest # x", "pytest <(x)", "pytest\u00a0x", "pytest \u202ex", "pytest\tx", "", "py\\test",
        "!!", "./a?",
    ],
)  # fmt: skip
def test_what_a_shell_would_do_more_with_is_no_plain_line(line: str):
    assert plain_words(line) is None


def test_plain_words():
    assert plain_words("python -m pytest -k 'a or b' --x=1") == [
        "python",
        "-m",
        "pytest",
        "-k",
        "a or b",
        "--x=1",
    ]


@given(st.text())
def test_any_line_is_read(line: str):
    assert all(isinstance(word, str) for words in commands(line) for word in words)


@given(st.lists(st.text(min_size=1), min_size=1, max_size=4))
def test_plain_words_are_the_shells(words: list[str]):
    line = shlex.join(words)
    assert plain_words(line) in (None, words)
