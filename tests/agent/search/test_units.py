from __future__ import annotations

import ast

from agent.search.units import header_end, innermost_statement, split_lines, units

SOURCE = '''\
"""Docstring."""
import os

LIMIT = 10
RATE = {
    "a": 1,
}


@decorator
@other(1)
def plain(x):
    def inner(y):
        return y
    return inner(x)


async def fetch():
    return 1


if os.name == "nt":
    def only_here():
        return 1


class Box:
    """Docstring."""

    size = 3

    def put(self, x):
        self.x = x

    class Lid:
        @property
        def open(self):
            return True
'''


def spans(source: str) -> dict[str, tuple[int, int]]:
    return {unit.name: (unit.start, unit.end) for unit in units(source)}


def test_functions_methods_nested_and_module_code():
    found = spans(SOURCE)

    assert found["<module>"] == (4, 7)
    assert found["plain"] == (10, 15), "decorators belong to it, and what is nested in it"
    assert found["fetch"] == (18, 19)
    assert found["only_here"] == (23, 24)
    assert found["Box.<body>"] == (30, 30), "without the docstring"
    assert found["Box.put"] == (32, 33)
    assert found["Box.Lid.open"] == (36, 38)


def test_methods_know_the_headers_of_their_classes():
    lid = next(unit for unit in units(SOURCE) if unit.name == "Box.Lid.open")
    assert [SOURCE.split("\n")[line - 1].strip() for line in lid.classes] == ["class Box:", "class Lid:"]


def test_a_very_long_function_gives_its_nested_ones_too():
    body = "".join(f"    x{n} = {n}\n" for n in range(200))
    source = f"def outer():\n{body}    def inner():\n        return 1\n"
    assert [unit.name for unit in units(source)] == ["outer", "outer.inner"]


def test_a_file_with_a_syntax_error_is_cut_by_its_def_lines():
    source = "import os\n\ndef a(x):\n    return (x\n\n\ndef b():\n    return 2\n"
    assert spans(source) == {"a": (3, 4), "b": (7, 8)}


def test_statements_and_their_headers():
    source = "if (a and\n        b):\n    c = [\n        1,\n    ]\nelse:\n    d = 2\n"
    tree = ast.parse(source)

    compound = innermost_statement(tree, 2)
    assert isinstance(compound, ast.If) and header_end(compound) == 2
    assert isinstance(innermost_statement(tree, 4), ast.Assign)
    assert isinstance(innermost_statement(tree, 6), ast.If), "an else line belongs to its if"
    assert innermost_statement(tree, 9) is None


def test_cases_of_a_match_are_statements_too():
    tree = ast.parse("match x:\n    case 1:\n        y = 2\n")
    assert isinstance(innermost_statement(tree, 3), ast.Assign)


def test_lines_are_those_of_python():
    text = "a = 1\x0c\nb = '\u2028'\nc"
    assert split_lines(text) == ["a = 1\x0c\n", "b = '\u2028'\n", "c"]
