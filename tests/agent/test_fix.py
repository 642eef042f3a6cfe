"""`fix` from end to end on small repositories: real sandbox, real tests, an engine that knows the answer."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from agent.events import AnyEvent, Candidate, End, Model, Verify
from agent.opening import open_session
from agent.options import RunOptions
from tests.agent.search.knowing_engine import KnowingEngine
from tests.conftest import GitRepo

PYTEST = ["python", "-m", "pytest", "-q", "--disable-plugin-autoload"]
RIGHT = '''\
"""Prices."""

RATE = 3


def price(amount, member):
    """What `amount` pieces cost."""
    total = amount * RATE
    if member and amount >= 10:
        total -= amount
    return total


def label(name):
    return name.strip().title()
'''
TESTS = """\
from prices import label, price


def test_plain():
    assert price(2, False) == 6


def test_member_edge():
    assert price(10, True) == 20


def test_no_member():
    assert price(20, False) == 60


def test_label():
    assert label(" a ") == "A"
"""


async def run(
    repo: Path, engine: KnowingEngine, command: list[str] = PYTEST, **options: Any
) -> tuple[list[AnyEvent], End]:
    given = RunOptions(kind="fix", repo=repo, command=command, model="knowing", **options)

    async def open_engine():
        return engine

    async with open_session(given, open_engine) as session:
        events = [event async for event in session.run()]
    assert isinstance(events[-1], End)
    return events, events[-1]


def candidates(events: list[AnyEvent]) -> list[Candidate]:
    return [event for event in events if isinstance(event, Candidate)]


async def test_a_passing_command_is_done_without_a_model(git_repo: GitRepo):
    events, end = await run(git_repo({"prices.py": RIGHT, "test_prices.py": TESTS}), KnowingEngine(RIGHT))

    assert (end.outcome, end.verified, end.patch) == ("done", True, "")
    assert not any(isinstance(event, Model) for event in events)


async def test_one_wrong_operator(git_repo: GitRepo):
    broken = RIGHT.replace(">= 10", "> 10")
    repo = git_repo({"prices.py": broken, "test_prices.py": TESTS})

    events, end = await run(repo, KnowingEngine(RIGHT))

    assert (end.outcome, end.verified, end.exit_code) == ("done", True, 0), end.reason
    assert (repo / "prices.py").read_text() == RIGHT
    assert end.changed_files == ["prices.py"]
    assert "+    if member and amount >= 10:" in end.patch
    assert "passed" in [event.verdict for event in candidates(events)]
    checks = [event for event in events if isinstance(event, Verify)]
    assert [check.passed for check in checks] == [False, True]


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("        total -= amount\n", "        pass\n"),
        ("    total = amount * RATE\n", ""),
        ("RATE = 3", "RATE = 4"),
        ("    return total\n", ""),
        ("member and amount", "amount"),
    ],
    ids=["replaced", "dropped line", "module level", "dropped last line", "dropped condition"],
)
async def test_other_single_faults(git_repo: GitRepo, old: str, new: str):
    repo = git_repo({"prices.py": RIGHT.replace(old, new, 1), "test_prices.py": TESTS})

    _events, end = await run(repo, KnowingEngine(RIGHT))

    assert (end.outcome, end.verified) == ("done", True), end.reason
    assert (repo / "prices.py").read_text() == RIGHT


async def test_a_package_with_options_and_several_paths(git_repo: GitRepo):
    broken = RIGHT.replace("amount * RATE", "amount + RATE")
    tests = TESTS.replace("from prices", "from shop.prices")
    repo = git_repo({
        "src/shop/__init__.py": "",
        "src/shop/prices.py": broken,
        "tests/unit/test_prices.py": tests,
        "tests/other/test_nothing.py": "def test_nothing():\n    pass\n",
        "pyproject.toml": "[tool.pytest.ini_options]\npythonpath = ['src']\n",
    })  # fmt: skip
    command = ["python", "-m", "pytest", "tests/unit", "-k", "not label", "tests/other", "--tb", "short"]

    _events, end = await run(repo, KnowingEngine(RIGHT), command)

    assert end.outcome == "done", end.reason
    assert (repo / "src/shop/prices.py").read_text() == RIGHT


async def test_a_command_that_is_not_pytest(git_repo: GitRepo):
    check = "from prices import price\n\nassert price(10, True) == 20\nassert price(2, False) == 6\n"
    repo = git_repo({"prices.py": RIGHT.replace(">= 10", "> 10"), "check.py": check})

    events, end = await run(repo, KnowingEngine(RIGHT), ["python", "check.py"])

    assert end.outcome == "done", end.reason
    assert (repo / "prices.py").read_text() == RIGHT
    assert {event.file for event in candidates(events)} == {"prices.py"}


async def test_line_ends_and_byte_order_mark_stay(git_repo: GitRepo):
    broken = b"\xef\xbb\xbf" + RIGHT.replace(">= 10", "> 10").replace("\n", "\r\n").encode()
    repo = git_repo({"prices.py": broken, "test_prices.py": TESTS})

    _events, end = await run(repo, KnowingEngine(RIGHT))

    assert end.outcome == "done", end.reason
    assert (repo / "prices.py").read_bytes() == b"\xef\xbb\xbf" + RIGHT.replace("\n", "\r\n").encode()


async def test_tests_and_their_helpers_are_never_candidates(git_repo: GitRepo):
    """The fault is in a file of the tests: no candidate touches it, and it ends unsolved."""
    files = {
        "prices.py": RIGHT,
        "conftest.py": "import pytest\n\n@pytest.fixture\ndef ten():\n    return 11\n",
        "test_prices.py": TESTS + "\n\ndef test_ten(ten):\n    assert price(ten, True) == 20\n",
    }
    repo = git_repo(files)

    events, end = await run(repo, KnowingEngine(RIGHT))

    assert (end.outcome, end.verified) == ("unsolved", False)
    assert all(event.file == "prices.py" for event in candidates(events))
    assert {name: (repo / name).read_text() for name in files} == files


async def test_a_function_is_written_anew_where_no_branch_helps(git_repo: GitRepo):
    broken = RIGHT.replace("    total = amount * RATE\n", "    total = 0\n").replace(">= 10", "> 10")
    repo = git_repo({"prices.py": broken, "test_prices.py": TESTS})
    function = RIGHT[RIGHT.index("def price") : RIGHT.index("def label")]
    engine = KnowingEngine("", [f"Here it is:\n```python\n{function}```\nDone."])

    _events, end = await run(repo, engine)

    assert (end.outcome, end.verified) == ("done", True), end.reason
    assert (repo / "prices.py").read_text() == RIGHT
    assert "test_member_edge" in engine.asked[0].messages[0].content


async def test_a_missing_program_ends_before_any_work(git_repo: GitRepo):
    repo = git_repo({"prices.py": RIGHT})
    events, end = await run(repo, KnowingEngine(RIGHT), ["no-such-program-here", "-q"])

    assert (end.outcome, end.exit_code) == ("environment", 3)
    assert "no-such-program-here" in end.reason
    assert not any(isinstance(event, Model) for event in events)


async def test_a_missing_module_ends_before_any_work(git_repo: GitRepo):
    _events, end = await run(git_repo({"a.py": ""}), KnowingEngine(""), ["python", "-m", "no_such_runner"])
    assert end.exit_code == 3 and "no_such_runner" in end.reason


@pytest.mark.parametrize("command", [["python", "no_such.py"], ["sh", "-e", "tools/no_such.sh"]])
async def test_a_missing_script_ends_before_any_work(git_repo: GitRepo, command: list[str]):
    events, end = await run(git_repo({"a.py": ""}), KnowingEngine(""), command)

    assert end.exit_code == 3 and f"no file {command[-1]} to run" in end.reason
    assert not any(isinstance(event, Model) for event in events)


async def test_a_missing_test_file_is_named(git_repo: GitRepo):
    _events, end = await run(git_repo({"a.py": ""}), KnowingEngine(""), [*PYTEST, "tests/test_none.py"])
    assert end.exit_code == 3 and "tests/test_none.py" in end.reason


async def test_a_denied_path_is_explained_with_its_flag(git_repo: GitRepo):
    repo = git_repo({"check.py": "open('/usr/ostro-was-here', 'w')\n"})
    _events, end = await run(repo, KnowingEngine(""), ["python", "check.py"])
    assert end.exit_code == 3 and "--unsafe-no-sandbox" in end.reason


async def test_no_tests_at_all_is_no_repair(git_repo: GitRepo):
    _events, end = await run(git_repo({"a.py": "x = 1\n"}), KnowingEngine(""))
    assert end.exit_code == 3 and "no tests" in end.reason


async def test_read_only_writes_nothing(git_repo: GitRepo):
    broken = RIGHT.replace(">= 10", "> 10")
    repo = git_repo({"prices.py": broken, "test_prices.py": TESTS})
    _events, end = await run(repo, KnowingEngine(RIGHT), approve="read-only")

    assert end.exit_code == 4
    assert (repo / "prices.py").read_text() == broken


BROKEN = RIGHT.replace(">= 10", "> 10")


async def test_a_command_in_a_subfolder_is_searched_there(git_repo: GitRepo):
    repo = git_repo({"svc/prices.py": BROKEN, "svc/test_prices.py": TESTS, "README": ""})
    events, end = await run(repo / "svc", KnowingEngine(RIGHT), [*PYTEST, "test_prices.py"])

    assert (end.outcome, end.verified, end.changed_files) == ("done", True, ["svc/prices.py"])
    assert candidates(events)[-1].verdict == "passed"


@pytest.mark.parametrize("steps", [3, 4])
async def test_a_limit_does_not_undo_what_was_reached(git_repo: GitRepo, steps: int):
    repo = git_repo({"prices.py": BROKEN, "test_prices.py": TESTS})
    _events, end = await run(repo, KnowingEngine(RIGHT), max_steps=steps)

    assert (end.outcome, end.verified, end.exit_code) == ("done", True, 0)


async def test_what_the_user_saves_meanwhile_stays(git_repo: GitRepo):
    repo = git_repo({"prices.py": BROKEN, "test_prices.py": TESTS, "NOTES": "one\n"})
    given = RunOptions(kind="fix", repo=repo, command=PYTEST, model="knowing")

    async def open_engine():
        return KnowingEngine(RIGHT)

    async with open_session(given, open_engine) as session:
        async for event in session.run():
            if isinstance(event, Candidate):
                (repo / "NOTES").write_text("one\ntwo\n")
                (repo / "mine.py").write_text("x = 1\n")

    assert (repo / "prices.py").read_text() == RIGHT
    assert ((repo / "NOTES").read_text(), (repo / "mine.py").read_text()) == ("one\ntwo\n", "x = 1\n")


async def test_an_effort_once_raised_stays(git_repo: GitRepo):
    repo = git_repo({"prices.py": BROKEN, "test_prices.py": TESTS})
    events, _end = await run(repo, KnowingEngine(BROKEN, ["no idea"] * 20))

    efforts = [event.effort for event in events if event.type == "effort"]
    assert efforts == ["high"]
