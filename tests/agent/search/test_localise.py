from __future__ import annotations

from agent.search.localise import (
    Evidence,
    files_to_read,
    functions_by_file,
    imported_files,
    names_in_tests,
    ochiai,
    rank,
    source_of_function,
)
from agent.search.protected import Protected
from agent.search.tracing import LineCounts
from tools.pytest_report import Frame

SOURCE = """\
LIMIT = 3


def often(x):
    return x + 1


def seldom(x):
    if x > LIMIT:
        return call(
            x,
        )
    else:
        return x


def never(x):
    return x
"""
NOTHING = Protected(["pytest"])
COUNTS = LineCounts(
    failed=2,
    passed=6,
    lines={"a.py": [(5, 2, 6), (9, 2, 2), (10, 2, 0)], "test_a.py": [(1, 2, 0)]},
    imported={"a.py": [1, 4, 8, 17]},
)


def test_suspiciousness_of_a_line():
    assert ochiai(2, 0, 2) == 1.0
    assert ochiai(2, 6, 2) == 0.5
    assert ochiai(0, 5, 2) == ochiai(1, 0, 0) == 0.0


def test_functions_by_coverage():
    suspects = rank({"a.py": SOURCE, "test_a.py": "x = 1\n"}, Evidence(COUNTS), NOTHING)

    assert [s.name for s in suspects] == ["seldom", "often", "<module>"], "no test files"
    assert suspects[0].line_scores[11] == suspects[0].line_scores[10] == 1.0, (
        "the rest of a call counts with it"
    )
    assert suspects[0].line_scores[13] == suspects[0].line_scores[9], "`else:` counts with its `if`"
    assert 14 not in suspects[0].line_scores, "no failing test ran it"
    assert 0 < suspects[2].score < 0.3


def test_the_traceback_and_the_names_in_the_test_count_as_well():
    counts = LineCounts(failed=1, passed=0, lines={"a.py": [(5, 1, 0), (9, 1, 0), (14, 1, 0)]})
    frames = [Frame(file="a.py", line=9, function="seldom")]

    by_frame = rank({"a.py": SOURCE}, Evidence(counts, frames), NOTHING)
    by_name = rank({"a.py": SOURCE}, Evidence(counts, (), frozenset({"seldom"})), NOTHING)

    assert by_frame[0].name == by_name[0].name == "seldom"


def test_without_coverage_the_traceback_and_the_names_decide():
    frames = [Frame(file="a.py", line=9, function="seldom"), Frame(file="a.py", line=5, function="often")]
    suspects = rank({"a.py": SOURCE}, Evidence(None, frames, frozenset({"never"})), NOTHING)
    assert [s.name for s in suspects] == ["often", "seldom", "never"]
    assert suspects[0].line_scores == {}


def test_the_same_evidence_gives_the_same_order():
    files = {f"m{n}.py": SOURCE for n in range(5)}
    counts = LineCounts(failed=1, passed=1, lines={file: [(5, 1, 1), (9, 1, 1)] for file in files})
    backwards = {file: files[file] for file in reversed(files)}
    assert rank(files, Evidence(counts), NOTHING) == rank(backwards, Evidence(counts), NOTHING)


def test_files_to_read():
    frames = [Frame(file="b.py", line=1, function="f"), Frame(file="test_a.py", line=1, function="t")]
    listed = ["a.py", "b.py", "test_a.py", "conftest.py"]
    assert files_to_read(Evidence(COUNTS, frames), NOTHING, listed) == ["b.py", "a.py"]


def test_what_a_test_names_and_imports():
    test = (
        "import pkg.mod\nfrom pkg import other as o\nfrom . import near\n"
        "def test_x():\n    assert o.compute(Thing()) == 1\ndef test_y():\n    unrelated()\n"
    )
    names = names_in_tests(test, ["test_x"])
    assert {"compute", "Thing"} <= names and "unrelated" not in names
    listed = ["src/pkg/mod.py", "src/pkg/other.py", "src/pkg/__init__.py", "t/near.py", "mod.py"]
    assert imported_files(test, "t/test_a.py", listed) == [
        "src/pkg/mod.py", "src/pkg/__init__.py", "src/pkg/other.py", "t/near.py",
    ]  # fmt: skip


def test_node_ids_to_functions_and_their_sources():
    ids = ["t.py::TestA::test_x[1-a::b]", "t.py::test_y", "t.py::test_y[2]", "u.py"]
    assert functions_by_file(ids) == {"t.py": ["test_x", "test_y"], "u.py": []}
    source = "class T:\n    @mark\n    def test_x(self):\n        pass\n"
    assert source_of_function(source, "test_x") == "    @mark\n    def test_x(self):\n        pass\n"
    assert source_of_function(source, "test_z") is None


def test_a_function_that_only_ran_at_import_is_read_before_module_level_code():
    source = (
        "TABLE = []\n\n\ndef fill(x):\n    TABLE.append(x)\n\n\ndef unused(x):\n    return x\n\n\nfill(1)\n"
    )
    counts = LineCounts(failed=1, passed=3, imported={"a.py": [1, 4, 5, 8, 12]})

    suspects = rank({"a.py": source}, Evidence(counts), NOTHING)

    assert suspects[0].name == "fill"
    assert "unused" not in [s.name for s in suspects], "its header ran, its body did not"
