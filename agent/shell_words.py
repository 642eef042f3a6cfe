"""Reading a command line as a shell would begin to, for rules about commands.

A convenience and never a boundary: a script, a variable or an alias says the same in words that nobody looks
at here. What a command may really do, the sandbox decides.
"""

from __future__ import annotations

import posixpath
import re
import shlex
from collections.abc import Iterator, Sequence

_ACTS_ON = set("|&;<>()`$*?[]{}~!#\\")
"""Characters with which a shell does more than to run the words as they stand."""
_SEPARATES = re.compile(r"\$\(|[`\n\r;|&(){}]|<\(|>\(")
_STARTS_A_SHELL = re.compile(r"-\w*c|eval|trap|-S|--split-string")
"""What a command line follows in one word, be it after options."""
_CONTINUED = "\\\n"
"""A line that goes on in the next one: the shell takes both signs out before it looks for words."""
_TAKES_A_WORD = frozenset(
    {"-C", "-c", "--git-dir", "--work-tree", "--namespace", "--config-env", "--exec-path", "--attr-source"}
)
"""Options of git itself that may have their value in the next word."""
DEEPEST = 4


def plain_words(line: str) -> list[str] | None:
    """The words of a line that a shell runs as they stand; None where it would do anything more.

    None for an operator, a redirect, an expansion, a substitution, an assignment before the command, an
    open quote, and for characters that are not seen.
    """
    if _ACTS_ON & set(line) or not line.isprintable():
        return None
    try:
        words = shlex.split(line)
    except ValueError:
        return None
    return words if words and "=" not in words[0] else None


def begins_with(words: Sequence[str], prefix: Sequence[str]) -> bool:
    """Whether the words are a command and its first arguments; a program is known by its name or path."""
    return list(words[: len(prefix)]) == list(prefix)


def names(line: str, prefix: Sequence[str]) -> bool:
    """Whether a command that begins so seems to be anywhere in a line. Rather yes than no.

    Looks into chains, substitutions and `sh -c`, behind `env`, `sudo` and the like and assignments, past
    git's own options, and over the ends of lines that go on; the program may be written with its folder, and
    git's commands as programs of their own.
    """
    return any(
        # The rest of $'...' begins with a dollar sign.
        begins_with([posixpath.basename(words[n].removeprefix("$")), *words[n + 1 :]], prefix)
        for words in commands(line)
        for n in range(len(words))
    )


def commands(line: str, depth: int = 0) -> Iterator[list[str]]:
    """The simple commands that a line seems to hold, git's own options left out."""
    for words in _split(line.replace(_CONTINUED, "")):
        yield _without_git_options(words)
        if depth >= DEEPEST:
            continue
        shell = False
        for word in words:
            if shell:
                yield from commands(word, depth + 1)
            shell = bool(_STARTS_A_SHELL.fullmatch(word)) or (shell and word.startswith("-"))


def _split(line: str) -> Iterator[list[str]]:
    try:
        lexer = shlex.shlex(line, posix=True, punctuation_chars=";|&()<>\n")
        lexer.whitespace, lexer.whitespace_split, lexer.commenters = " \t\r", True, ""
        tokens = list(lexer)
    except ValueError:  # an open quote: without the quotes there are words at least
        tokens = line.replace("'", " ").replace('"', " ").split()
    words: list[str] = []
    for token in tokens:
        if set(token) <= set(";|&()<>\n"):
            yield words
            words = []
            continue
        inner = (
            [part.split() for part in _SEPARATES.split(token)] if set(token) & set("`$\n{}") else [[token]]
        )
        for n, part in enumerate(inner):
            if n:
                yield words
                words = []
            words += part
    yield words


def _without_git_options(words: Sequence[str]) -> list[str]:
    kept: list[str] = []
    waiting = list(reversed(words))
    while waiting:
        kept.append(waiting.pop())
        program = posixpath.basename(kept[-1])
        if len(kept) == 1 and program.startswith("git-"):
            kept[:] = ["git", program.removeprefix("git-")]
        if program != "git":
            continue
        while waiting and waiting[-1].startswith("-"):
            if waiting.pop() in _TAKES_A_WORD and waiting:
                waiting.pop()
    return kept
