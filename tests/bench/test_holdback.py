"""Holding tests back: the functions are gone from the file, and nothing else is."""

from __future__ import annotations

from pathlib import Path

import pytest

from bench.holdback import function_of, hold_back, removable, without

SOURCE = b'''\
import pytest


class TestGroup:
    def test_a(self):
        assert True

    # about b
    @pytest.mark.parametrize(
        "n", [1, 2]
    )
    def test_b(self, n):
        assert n


class TestOther:
    def test_a(self):
        pass


async def test_c():
    """Text
    over lines."""
'''


def test_function_of_a_node_id() -> None:
    assert function_of("tests/test_a.py::TestB::test_c[x::y-[1]]") == "tests/test_a.py::TestB::test_c"
    assert function_of("test_a.py::test_c") == "test_a.py::test_c"


def test_removes_with_decorators() -> None:
    left = without(SOURCE, ["TestGroup::test_b"])
    assert left == SOURCE.replace(
        SOURCE[SOURCE.index(b"    @pytest") : SOURCE.index(b"\n\nclass TestOther")], b""
    )


def test_removes_from_the_named_class() -> None:
    left = without(SOURCE, ["TestGroup::test_a"])
    assert left.count(b"def test_a") == 1
    assert b"class TestOther:\n    def test_a" in left


def test_an_empty_class_passes() -> None:
    left = without(SOURCE, ["TestOther::test_a"])
    assert b"class TestOther:\n    pass\n" in left
    compile(left, "left", "exec")


def test_several_at_once() -> None:
    left = without(SOURCE, ["test_c", "TestGroup::test_a", "TestGroup::test_b", "TestOther::test_a"])
    compile(left, "left", "exec")
    assert b"def test_" not in left


def test_unknown_function() -> None:
    with pytest.raises(ValueError, match="test_z"):
        without(SOURCE, ["test_z"])


def test_keeps_line_ends() -> None:
    assert without(b"def test_a():\r\n    pass\r\n\r\nx = 1\r\n", ["test_a"]) == b"\r\nx = 1\r\n"


def test_only_what_stands_in_the_file(tmp_path: Path) -> None:
    (tmp_path / "test_it.py").write_bytes(SOURCE)
    wanted = ["test_it.py::test_c", "test_it.py::TestNew::test_a", "README.rst::README.rst"]
    assert removable(tmp_path, wanted) == ["test_it.py::test_c"]
    hold_back(tmp_path, ["test_it.py::test_c"])
    assert b"test_c" not in (tmp_path / "test_it.py").read_bytes()
