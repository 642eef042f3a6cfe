from __future__ import annotations

from agent.search.candidates import Sieve, difference, unknown_names

SOURCE = '''\
import os

LIMIT = 3


def f(x):
    """Docstring."""
    result = []
    for y in x:
        result.append(y)
    return result
'''


def test_only_edits_that_could_help_pass():
    sieve = Sieve("a.py", SOURCE)

    assert sieve.admit(SOURCE.replace("return result", "return result["), 0.0) is None, "does not parse"
    assert sieve.admit(SOURCE.replace("return result", "return  result  # as before"), 0.0) is None, (
        "the same"
    )
    assert sieve.admit(SOURCE.replace("Docstring", "Other words"), 0.0) is None, "the same but for words"
    assert sieve.admit(SOURCE.replace("result = []", "res = []"), 0.0) is None, (
        "nothing binds result any more"
    )
    assert sieve.admit(SOURCE.replace("    return", "return"), 0.0) is None, "return outside a function"
    edit = sieve.admit(SOURCE.replace("append(y)", "append(y + LIMIT)"), 1.5)
    assert edit is not None
    assert (edit.line, edit.before.strip(), edit.after.strip()) == (
        10,
        "result.append(y)",
        "result.append(y + LIMIT)",
    )
    assert sieve.admit(edit.source + "\n", 0.0) is None, "was tried already"


def test_a_name_that_was_unknown_before_may_stay_so():
    source = "def f():\n    return missing + 1\n"
    assert Sieve("a.py", source).admit("def f():\n    return missing + 2\n", 0.0) is not None


def test_a_file_that_does_not_parse_can_still_be_repaired():
    sieve = Sieve("a.py", "def f(:\n    return 1\n")
    assert sieve.admit("def f():\n    return 1\n", 0.0) is not None


def test_unknown_names_by_scope():
    assert unknown_names("def f():\n    a = 1\ndef g():\n    return a\n") == {"a"}
    assert unknown_names("def f():\n    global a\n    a = 1\ndef g():\n    return a\n") == set()
    assert unknown_names("class C:\n    b = 1\n    def f(self):\n        return b\n") == {"b"}
    assert unknown_names("def f():\n    a = 1\n    def g():\n        return a\n    return g\n") == set()
    assert unknown_names("from os import *\nx = path\n") == set()
    assert unknown_names("print(__name__, [q for q in range(3)])\n") == set()


def test_the_difference_is_shown_without_what_is_equal():
    assert difference("a\nb\nc\n", "a\nB\nc\n") == (2, "b", "B")
    assert difference("a\nc\n", "a\nb\nc\n") == (2, "", "b")
    assert difference("a\nb\nc\n", "a\nc\n") == (2, "b", "")


def test_smaller_edits_are_known_as_such():
    sieve = Sieve("a.py", SOURCE)
    small = sieve.admit(SOURCE.replace("LIMIT = 3", "LIMIT = 4"), 0.0)
    large = sieve.admit(SOURCE.replace("LIMIT = 3", "LIMIT = os.getpid() or 4"), 0.0)
    assert small is not None and large is not None and small.size < large.size
