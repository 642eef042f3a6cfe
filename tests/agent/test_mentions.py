from __future__ import annotations

from agent.mentions import MOST_BYTES, named
from tests.agent.running import run
from tests.conftest import GitRepo
from tests.scripted_engine import say

FILES = ["a.py", "pkg/b.py", "pkg/c/b.py", "pkg/only.py"]


def test_by_path_by_place_and_by_a_name_that_only_one_has():
    assert named({"a.py"}, FILES, ".") == {"a.py"}
    assert named({"pkg/b.py"}, FILES, ".") == {"pkg/b.py"}
    assert named({"b.py"}, FILES, ".") == set()
    assert named({"b.py"}, FILES, "pkg") == {"pkg/b.py"}
    assert named({"../a.py", "only.py"}, FILES, "pkg") == {"a.py", "pkg/only.py"}
    assert named({"../../etc/passwd"}, FILES, ".") == set()


async def test_the_files_that_a_task_names_come_with_it(git_repo: GitRepo):
    repo = git_repo({"sums.py": "def add(a, b):\n    ...\n", "other.py": "x = 1\n"})
    ran = await run(repo, [say("Done.")], task="`add` in sums.py is empty: write it.", verify=["true"])

    task = ran.told[1].content
    assert "sums.py as it is now." in task and "def add(a, b):\n    ...\n```" in task
    assert "x = 1" not in task


async def test_large_and_binary_files_are_left_to_the_read_tool(git_repo: GitRepo):
    repo = git_repo({"big.txt": "x" * (MOST_BYTES + 1), "image.png": b"\x89PNG\xff"})
    ran = await run(repo, [say("Done.")], task="Look at big.txt and image.png.")

    assert ran.told[1].content == "Look at big.txt and image.png."
