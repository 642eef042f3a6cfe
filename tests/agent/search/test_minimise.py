from __future__ import annotations

from pathlib import Path

from agent.search.minimise import minimise
from sandbox import Sandbox, Workspace
from tests.conftest import GitRepo

CODE = "def f(x):\n    return x + 2\n\n\nA = 1\nB = 2\nC = 3\nD = 4\n"


async def minimised(
    repo: Path, changes: dict[str, str | None], check: str, theirs: dict[str, str] | None = None
) -> list[str]:
    """Applies the changes, then leaves out what `check` (a shell command) passes without.

    `theirs` is what the user writes in between.
    """
    sandbox = await Sandbox.open(repo)
    try:
        start = await sandbox.workspace.snapshot()
        for path, text in changes.items():
            if text is None:
                await sandbox.workspace.run(["rm", path])
            else:
                await sandbox.workspace.write(path, text.encode())
        for path, text in (theirs or {}).items():
            (repo / path).write_text(text)
        now = await sandbox.workspace.snapshot()

        async def passes(fork: Workspace) -> bool:
            return (await fork.run(["sh", "-c", check])).exit_code == 0

        assert await passes(sandbox.workspace)
        written = {path: text.encode() for path, text in changes.items() if text is not None}
        dropped = await minimise(sandbox.workspace, start, now, passes, written)
        assert await passes(sandbox.workspace)
        return list(dropped.before)
    finally:
        await sandbox.close()


async def test_only_what_is_needed_stays(git_repo: GitRepo):
    repo = git_repo({"a.py": CODE, "b.py": "x = 1\n", "old.txt": "old\n"})
    changed = CODE.replace("x + 2", "x + 1").replace("A = 1", "A = 9").replace("C = 3", "C = 9")

    touched = await minimised(
        repo,
        {"a.py": changed, "b.py": "x = 2\n", "new.py": "n = 1\n", "old.txt": None},
        'python -B -c "import a; assert a.f(1) == 2 and a.C == 9"',
    )

    assert (repo / "a.py").read_text() == CODE.replace("x + 2", "x + 1").replace("C = 3", "C = 9")
    assert (repo / "b.py").read_text() == "x = 1\n"
    assert not (repo / "new.py").exists()
    assert not (repo / "old.txt").exists(), "a command removed it, or the user: nobody knows"
    assert sorted(touched) == ["a.py", "b.py", "new.py"]


async def test_what_the_user_writes_meanwhile_stays(git_repo: GitRepo):
    repo = git_repo({"a.py": CODE, "b.py": "x = 1\n", "NOTES": "one\n"})
    theirs = {"NOTES": "one\ntwo\n", "mine.py": "x = 1\n", "b.py": "x = 2\ny = 3\n"}

    touched = await minimised(
        repo, {"a.py": CODE.replace("x + 2", "x + 1").replace("A = 1", "A = 9"), "b.py": "x = 2\n"},
        'python -B -c "import a; assert a.f(1) == 2"', theirs,
    )  # fmt: skip

    assert touched == ["a.py"]
    assert {name: (repo / name).read_text() for name in theirs} == theirs


async def test_a_single_change_is_left_alone(git_repo: GitRepo):
    repo = git_repo({"a.py": CODE})
    assert await minimised(repo, {"a.py": CODE.replace("A = 1", "A = 9")}, "true") == []
    assert "A = 9" in (repo / "a.py").read_text()


async def test_something_always_stays(git_repo: GitRepo):
    repo = git_repo({"a.py": CODE})
    changed = CODE.replace("A = 1", "A = 9").replace("C = 3", "C = 9")
    await minimised(repo, {"a.py": changed}, "true")
    assert (repo / "a.py").read_text() != CODE


async def test_what_the_command_writes_in_the_fork_stays_there(git_repo: GitRepo):
    repo = git_repo({"a.py": CODE})
    changed = CODE.replace("x + 2", "x + 1").replace("A = 1", "A = 9")

    async def passes(fork: Workspace) -> bool:
        kept = b"x + 1" in await fork.read("a.py")
        await fork.write("a.py", b"the command's\n")
        return kept

    async with await Sandbox.open(repo) as sandbox:
        start = await sandbox.workspace.snapshot()
        await sandbox.workspace.write("a.py", changed.encode())
        now = await sandbox.workspace.snapshot()
        await minimise(sandbox.workspace, start, now, passes, {"a.py": changed.encode()})

    assert (repo / "a.py").read_text() == CODE.replace("x + 2", "x + 1")
