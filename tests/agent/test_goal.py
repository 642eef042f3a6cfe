"""Passing for a wrong reason is not passing."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from agent.events import End
from engine.request import Capabilities
from tests.agent.running import Ran, run
from tests.agent.test_fix import PYTEST, RIGHT, TESTS
from tests.conftest import GitRepo
from tests.sandbox.conftest import make_venv
from tests.scripted_engine import Answer, ScriptedEngine, call, say

BROKEN = RIGHT.replace(">= 10", "> 10")
CHECK = "from prices import price\n\nassert price(10, True) == 20\n"
ENOUGH = 12
"""Answers of a model that has nothing more to say, each different."""


async def fix(repo: Path, *answers: Answer, command: list[str] = PYTEST, **options: Any) -> Ran:
    """With an engine that can only chat, whose rewrites of functions come to nothing."""
    can = Capabilities(model="s", family="qwen2", context=32768, effort="prompted", score=False, branch=False)
    engine = Chat(answers, can)
    return await run(repo, engine=engine, kind="fix", task=None, command=command, **options)


class Chat(ScriptedEngine):
    """Answers without tools are for the rewriting of functions, and say nothing."""

    def __init__(self, answers: tuple[Answer, ...], can: Capabilities) -> None:
        super().__init__([], capabilities=can)
        self._left = [*answers, *(say(f"I have no more, {n}.") for n in range(ENOUGH))]

    async def chat(self, request):
        answer = self._left.pop(0) if request.tools else say("No idea.")
        self.requests.append(request)
        for delta in self._deltas(request, answer):
            yield delta


def unsolved(end: End, because: str) -> bool:
    return (end.outcome, end.verified, end.exit_code) == ("unsolved", False, 1) and because in end.reason


@pytest.mark.parametrize("absolute", [False, True])
async def test_the_commands_own_script_in_a_subfolder(git_repo: GitRepo, absolute: bool):
    repo = git_repo({"svc/prices.py": BROKEN, "svc/check.py": CHECK})
    script = str(repo / "svc" / "check.py") if absolute else "check.py"
    ran = await fix(
        repo / "svc", call("write", path="svc/check.py", content="pass\n"), command=["python", script]
    )

    assert unsolved(ran.end, "by a change of svc/check.py")


async def test_what_the_command_itself_writes_says_nothing(git_repo: GitRepo):
    keeps = (
        "from pathlib import Path\nimport time\n\n\ndef test_log():\n"
        "    Path('tests/log.txt').write_text(f'{time.time()}')\n"
    )
    files = {
        "prices.py": BROKEN,
        "tests/test_prices.py": TESTS,
        "tests/test_log.py": keeps,
        "tests/log.txt": "1",
    }
    edit = call("edit", path="prices.py", old="> 10", new=">= 10")
    ran = await fix(git_repo(files), edit, command=[*PYTEST, "-o", "pythonpath=."])

    assert (ran.end.outcome, ran.end.verified) == ("done", True)


async def test_resuming_does_not_forgive(git_repo: GitRepo):
    repo = git_repo({"prices.py": BROKEN, "check.py": CHECK})
    first = await fix(repo, call("write", path="check.py", content="pass\n"), command=["python", "check.py"])
    assert unsolved(first.end, "check.py")

    again = await run(
        repo, engine=Chat((), first.engine.capabilities), kind="fix", task=None, resume=first.session
    )
    assert unsolved(again.end, "check.py")


async def test_tests_that_do_not_run(git_repo: GitRepo):
    repo = git_repo({"prices.py": BROKEN, "test_prices.py": TESTS})
    leaves = call("edit", path="prices.py", old="RATE = 3", new="import os\nos._exit(0)\nRATE = 3")
    ran = await fix(repo, leaves)

    assert unsolved(ran.end, "only 0 tests passed")


async def test_what_git_ignores_is_no_repair(git_repo: GitRepo):
    repo = git_repo(
        {"check.py": "import os, sys\nsys.exit(not os.path.exists('made'))\n", ".gitignore": "made\n"}
    )
    ran = await fix(repo, call("shell", command="touch made"), command=["python", "check.py"])

    assert unsolved(ran.end, "no file that git sees has changed")


async def test_an_ignored_conftest_is_seen(git_repo: GitRepo):
    repo = git_repo({"prices.py": BROKEN, "test_prices.py": TESTS, ".gitignore": "conftest.py\n"})
    hides = "def pytest_collection_modifyitems(items):\n    items[:] = items[:3]\n"
    ran = await fix(
        repo,
        call("write", path="conftest.py", content=hides),
        call("edit", path="prices.py", old="RATE = 3", new="RATE = 3.0"),
    )
    assert not ran.end.verified


async def test_an_environments_packages_are_seen(git_repo: GitRepo):
    repo = git_repo(
        {"check.py": "import os, sys\nsys.exit(not os.path.exists('.venv/made'))\n", ".gitignore": ".venv\n"}
    )
    make_venv(repo / ".venv")
    ran = await fix(
        repo, call("shell", command="touch .venv/made; echo >> notes"), command=["python", "check.py"]
    )
    assert unsolved(ran.end, ".venv/made")


VERIFIED = {"prices.py": BROKEN, "test_prices.py": TESTS}


async def verified(repo: Path, task: str, *answers: Answer) -> End:
    engine = Chat(answers, Capabilities(model="s", family="qwen2", context=32768, effort="prompted"))
    return (await run(repo, engine=engine, task=task, verify=PYTEST)).end


WEAKER = call("edit", path="test_prices.py", old="== 20", new="== 30")


async def test_a_task_is_not_verified_by_weaker_tests(git_repo: GitRepo):
    end = await verified(git_repo(VERIFIED), "Fix price(), its tests fail.", WEAKER)
    assert unsolved(end, "by a change of test_prices.py")


@pytest.mark.parametrize("task", ["Correct test_prices.py.", "Change the tests to the new prices."])
async def test_a_task_may_ask_for_other_tests(git_repo: GitRepo, task: str):
    end = await verified(git_repo(VERIFIED), task, WEAKER)
    assert (end.outcome, end.verified) == ("done", True)


async def test_further_tests_weaken_nothing(git_repo: GitRepo):
    end = await verified(
        git_repo(VERIFIED),
        "Fix price().",
        call("write", path="tests/test_more.py", content="def test_more():\n    pass\n"),
        call("edit", path="prices.py", old="> 10", new=">= 10"),
    )
    assert (end.outcome, end.verified) == ("done", True)


async def test_a_denied_edit_that_would_have_been_needed(git_repo: GitRepo):
    edit = call("edit", path="prices.py", old="> 10", new=">= 10")
    ran = await fix(git_repo(VERIFIED), edit, approve="ask")

    assert (ran.end.outcome, ran.end.exit_code, ran.end.denied) == ("refused", 4, ["edit prices.py"])
