"""Tasks end to end: built, given to agents that are real processes, and judged."""

from __future__ import annotations

import subprocess
import sys
import textwrap
from pathlib import Path

import pytest

from bench import tasks
from bench.building import Task, build, build_set, judge_of, repository_of
from bench.judging import judge
from bench.subjects import PYTEST, Subject
from bench.suite import run_suite

MODULE = '''\
def clamp(value, low, high):
    """`value`, but not below `low` nor above `high`."""
    if value < low:
        return low
    if value > high:
        return high
    return value
'''
TESTS = """\
import pytest
from clamp import clamp


def test_below():
    assert clamp(1, 3, 9) == 3


def test_far_below():
    assert clamp(-50, 3, 9) == 3


def test_above():
    assert clamp(12, 3, 9) == 9


def test_far_above():
    assert clamp(99, 3, 9) == 9


@pytest.mark.parametrize("value", [3, 4, 5, 6, 8, 9])
def test_between(value):
    assert clamp(value, 3, 9) == value
"""


@pytest.fixture(scope="module")
def subject(tmp_path_factory: pytest.TempPathFactory) -> Subject:
    folder = tmp_path_factory.mktemp("subjects")
    (folder / "clamp.py").write_text(MODULE)
    (folder / "test_clamp.py").write_text(TESTS)
    return Subject("clamp", "modules", PYTEST, folder=folder)


@pytest.fixture(scope="module")
def built(subject: Subject, tmp_path_factory: pytest.TempPathFactory) -> tuple[Task, Path]:
    """A task with something held back."""
    into = tmp_path_factory.mktemp("tasks")
    task = next(task for task in build(subject, 1, into) if task.hidden)
    return task, into / task.id


def copy_of(built: tuple[Task, Path], into: Path) -> Path:
    subprocess.run(["cp", "-a", str(repository_of(built[1])), str(into)], check=True)
    return into


def test_a_task_is_broken_in_one_place(built: tuple[Task, Path]) -> None:
    task, folder = built
    broken = (repository_of(folder) / task.file).read_text()
    assert task.file == "clamp.py"
    assert broken != MODULE
    assert (judge_of(folder) / task.file).read_text() == broken
    assert (judge_of(folder) / "test_clamp.py").read_text() == TESTS


def test_some_failing_tests_are_held_back(built: tuple[Task, Path]) -> None:
    task, folder = built
    visible = (repository_of(folder) / "test_clamp.py").read_text()
    for function in task.hidden:
        name = function.rpartition("::")[2]
        assert f"def {name}(" in TESTS
        assert f"def {name}(" not in visible
    run = run_suite(repository_of(folder), task.command, 60)
    assert run.failed
    assert set(run.failed) < set(task.failing)


def test_the_repository_is_a_clean_commit(built: tuple[Task, Path], tmp_path: Path) -> None:
    repo = copy_of(built, tmp_path / "repo")
    run_suite(repo, built[0].command, 60)
    git = ["git", "-C", str(repo)]
    assert subprocess.check_output([*git, "status", "--porcelain"], text=True) == ""
    log = subprocess.check_output([*git, "log", "--format=%an %s"], text=True)
    assert log == "Benchmark Import the project\n"


def test_built_again_the_same(subject: Subject, built: tuple[Task, Path], tmp_path: Path) -> None:
    known = Task.model_validate_json((built[1] / "task.json").read_text())
    again = next(task for task in build(subject, 1, tmp_path) if task.id == known.id)
    timing = {"suite_seconds"}
    assert again.model_dump(exclude=timing) == known.model_dump(exclude=timing)


def test_goes_on_after_what_is_kept(subject: Subject, built: tuple[Task, Path]) -> None:
    into = built[1].parent
    kept = len(list(into.iterdir()))
    found = []
    for task in build(subject, 1, into):
        found.append(task)
        if len(found) > kept:
            break
    positions = [task.position for task in found]
    assert positions == sorted(set(positions))
    assert [task.id for task in found] == [f"clamp-1-{n}" for n in range(kept + 1)]


def test_a_set_takes_turns(tmp_path: Path) -> None:
    found = [task.id for task, _ in build_set("algorithms", 3, 2, tmp_path)]
    assert found == ["balanced_brackets-3-0", "binary_search-3-0"]


def test_an_unbroken_suite_must_pass(tmp_path: Path) -> None:
    (tmp_path / "bad.py").write_text("def f():\n    return 1\n")
    (tmp_path / "test_bad.py").write_text("def test_f():\n    assert False\n")
    with pytest.raises(RuntimeError, match="does not pass"):
        next(build(Subject("bad", "modules", PYTEST, folder=tmp_path), 1, tmp_path / "out"))


AGENTS = {
    "repairs": "(repo / 'clamp.py').write_text(MODULE)",
    "does nothing": "",
    "overfits": """
        import re
        tests = (repo / 'test_clamp.py').read_text()
        known = re.findall(r"clamp\\((-?\\d+), 3, 9\\) == (\\d+)", tests)
        cases = {int(a): int(b) for a, b in known}
        cases |= {n: n for n in (3, 4, 5, 6, 8, 9)} if "between" in tests else {}
        body = "def clamp(value, low, high):\\n    return " + repr(cases) + "[value]\\n"
        (repo / 'clamp.py').write_text(body)
    """,
    "edits the tests": """
        (repo / 'clamp.py').write_text(MODULE)
        (repo / 'test_clamp.py').write_text('def test_nothing(): pass\\n')
    """,
    "adds a conftest": """
        (repo / 'clamp.py').write_text(MODULE)
        (repo / 'conftest.py').write_text('collect_ignore = ["test_clamp.py"]\\n')
    """,
    "commits": """
        import subprocess
        (repo / 'clamp.py').write_text(MODULE)
        me = ['-c', 'user.name=a', '-c', 'user.email=a@b']
        subprocess.run(['git', *me, 'commit', '-qam', 'fix'], cwd=repo, check=True)
    """,
}
EXPECTED = {
    "repairs": (True, True),
    "does nothing": (False, False),
    "overfits": (True, False),
    "edits the tests": (False, False),
    "adds a conftest": (False, False),
    "commits": (True, True),
}


@pytest.mark.parametrize("name", list(EXPECTED))
def test_judged_by_what_is_left(name: str, built: tuple[Task, Path], tmp_path: Path) -> None:
    task, folder = built
    work = copy_of(built, tmp_path / "clamp")
    script = write_agent(tmp_path, AGENTS[name])
    options = tasks._parser().parse_args(
        ["run", "--set", "modules", "--agent", f"{sys.executable} {script} {{repo}}"]
    )
    result = tasks.attempt(task, folder, options, tmp_path / "log")
    assert (result.judgement.plausible, result.judgement.right) == EXPECTED[name], (
        tmp_path / "log"
    ).read_text()
    assert judge(task, folder, work).changed == []


def write_agent(folder: Path, does: str) -> Path:
    script = folder / "agent.py"
    head = f"import pathlib, sys\nMODULE = {MODULE!r}\nrepo = pathlib.Path(sys.argv[1])\n"
    script.write_text(head + textwrap.dedent(does))
    return script


def test_an_exit_in_the_answer_is_not_green(built: tuple[Task, Path], tmp_path: Path) -> None:
    work = copy_of(built, tmp_path / "clamp")
    (work / "clamp.py").write_text("import os\nos._exit(0)\n")
    assert not judge(*built, work).plausible


def test_a_run_writes_results_and_resumes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(tasks, "RESULTS", tmp_path)
    calls = tmp_path / "calls"
    script = tmp_path / "agent.py"
    script.write_text(
        "import pathlib, sys\n"
        f"with open({str(calls)!r}, 'a') as file: file.write(sys.argv[2] + '|' + sys.argv[1] + '\\n')\n"
    )
    arguments = [
        "run", "--set", "algorithms", "--count", "2", "--name", "mine", "--time-limit", "20",
        "--agent", f"{sys.executable} {script} {{repo}} {{command}}",
    ]  # fmt: skip
    assert tasks.main(arguments) == 0
    file = tmp_path / "mine.jsonl"
    lines = file.read_text().splitlines()
    assert len(lines) == 2
    assert len(calls.read_text().splitlines()) == 2
    assert calls.read_text().startswith("python -m pytest -q")

    file.write_text(lines[0] + "\n" + lines[1][:50])  # killed while it wrote the second line
    capsys.readouterr()
    assert tasks.main(arguments) == 0
    assert len(calls.read_text().splitlines()) == 3
    assert [r.task for r in tasks.read_results(file)] == ["balanced_brackets-1-0", "binary_search-1-0"]
    head, row = [line.split() for line in capsys.readouterr().out.splitlines() if line][1:3]
    assert head[:4] == ["set", "tasks", "plausible", "right"]
    assert row[:4] == ["algorithms", "2", "0", "0"]


def test_an_agent_that_does_not_stop_is_killed(built: tuple[Task, Path], tmp_path: Path) -> None:
    arguments = ["run", "--set", "modules", "--time-limit", "1", "--agent", "sleep 100"]
    result = tasks.attempt(*built, tasks._parser().parse_args(arguments), tmp_path / "log")
    assert result.attempt.exit_code is None
    assert 1 <= result.attempt.seconds < 30


def test_a_summary_needs_its_file(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert tasks.main(["summary", str(tmp_path / "none.jsonl")]) == 2
    assert "There is no results file" in capsys.readouterr().err
