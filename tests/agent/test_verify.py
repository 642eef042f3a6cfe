"""The command that must pass, as it was typed."""

from __future__ import annotations

import shlex
import subprocess

import pytest

from agent.verify import split_command


@pytest.mark.parametrize(
    "text",
    [
        "python -c 'import a; print(a)'",
        'python -c "import a; print(a)"',
        "pytest -k 'a and (b or c)' --tb=short",
        r"echo a\;b \* ",
        "echo 'a\nb' \"c * d\"",
        "pytest 'test_a.py::test_b[1]' '#' \"!\"",
        *("make CC=gcc", "'A=b' c", r"A\=b c", "env A=b c", "./a=b", "1a=b"),
    ],
)
def test_what_is_quoted_needs_no_shell(text: str) -> None:
    words = split_command(text)

    assert words == shlex.split(text) and words[0] != "sh"


@pytest.mark.parametrize(
    "text",
    [
        *("cd x && make", "echo $HOME", 'echo "$HOME"', 'echo "`id`"', r'echo "\$x"', "ls *.py", "a\nb"),
        *("PYTHONPATH=src python -m pytest", "A='b c' _D=1 x", " A= x", 'A="b" x', "! grep x a"),
        *("ls a[bc]", "[ -f a ]", "true # as ever"),
        *("echo a\\\nb", "echo 'a;b' ; true", "echo ~", "cat <<'E'\nit's\nE", 'echo "a\\\nb"'),
    ],
)
def test_what_a_shell_acts_on_gets_one(text: str) -> None:
    assert split_command(text) == ["sh", "-c", text]


@pytest.mark.parametrize("quote", ["", "'", '"'])
@pytest.mark.parametrize("character", [chr(n) for n in range(32, 127)] + ["\n", "\t"])
def test_words_are_those_of_the_shell(quote: str, character: str) -> None:
    """Whatever is not left to the shell is split as the shell splits it."""
    for text in (f"x{quote}a{character}b{quote}", f"x{quote}a\\{character}b{quote}"):
        try:
            words = split_command(f"true {text}")
        except ValueError:
            continue
        if words[0] == "sh":
            continue
        told = subprocess.run(["sh", "-c", f"printf '%s\\0' {text}"], capture_output=True, text=True)
        assert words[1:] == told.stdout.split("\0")[:-1], text


def test_an_open_quote_is_no_command() -> None:
    with pytest.raises(ValueError, match="quotation"):
        split_command("echo 'a; b")
