"""Ways round what is held fast of git: another folder that git takes for the repository, and programs of the
workspace in the place of Ostro's own, at the moment when less is held."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from sandbox import Author, Sandbox, SandboxError

from .conftest import Opener, git, make_venv

ROOT = Path(__file__).parents[2]
LIKE_GIT = """
git init -q --bare bare; mv bare/objects bare/refs bare/HEAD .; rm -rf bare
printf '[core]\\nrepositoryformatversion = 0\\nworktree = .\\nfsmonitor = "touch %s"\\n' "$1" > config
"""
BROKEN = {
    "no HEAD": "rm .git/HEAD",
    "a HEAD that names nothing": "echo nothing > .git/HEAD",
    "HEAD as a folder": "rm .git/HEAD; mkdir .git/HEAD",
    "HEAD as a link": "ln -sf ../README.md .git/HEAD",
    "no objects": "mv .git/objects .git/o",
    "no refs": "rm -rf .git/refs",
    "refs as a file": "rm -rf .git/refs; echo > .git/refs",
}


def run(repo: Path, script: str, *argv: str) -> None:
    subprocess.run(["sh", "-c", script, "sh", *argv], cwd=repo, capture_output=True, check=False)


@pytest.mark.parametrize("already", [False, True], ids=["made", "brought"])
@pytest.mark.parametrize("how", BROKEN)
@pytest.mark.parametrize("bare", [True, False], ids=["bare", "sandboxed"])
async def test_the_workspace_itself_does_not_become_the_git_folder(
    repo: Path, tmp_path: Path, open_sandbox: Opener, how: str, already: bool, bare: bool
) -> None:
    """Where `.git` is broken, git looks further: first at the very folder that `.git` is in."""
    marker = tmp_path / "marker"
    if already:  # a hostile tree can bring all but the broken `.git`
        run(repo, LIKE_GIT, str(marker))
    box = await open_sandbox(unsafe=bare)
    script = BROKEN[how] if already else f"{LIKE_GIT}{BROKEN[how]}"
    done = await box.workspace.run(["sh", "-c", script, "sh", str(marker)])
    run(repo, "git status")
    assert marker.exists() is bare
    assert ("renamed to *.ostro-aside, because git would act on it: HEAD" in done.output) is not bare
    assert (repo / "HEAD").exists() is bare


async def test_a_tree_that_only_looks_so_stays(repo: Path, open_sandbox: Opener) -> None:
    box = await open_sandbox()
    for head in ("ref:  refs/heads/x", git(repo, "rev-parse", "HEAD").strip()):
        script = 'mkdir -p objects refs; echo x > HEAD; echo "$1" > .git/HEAD'
        done = await box.workspace.run(["sh", "-c", script, "sh", head])
        assert done.output == "" and (repo / "HEAD").read_text() == "x\n"


async def test_where_nothing_is_held_it_is_said(
    repo: Path, open_sandbox: Opener, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("sandbox.box.candidates", lambda *_: [])
    box = await open_sandbox()
    done = await box.workspace.run(["sh", "-c", "mkdir objects refs; echo x > HEAD; mv .git moved"])
    assert "changed, and git acts on it: ." in done.output
    assert ". (changed)" in await box.new_repositories()


PLANT = """
cat > "$1" <<'END'
#!/bin/sh
case $0 in */git) ;; *) /bin/chmod "$@";; esac
echo evil > .git/hooks/pre-commit
echo '[core]' >> .git/config
case $0 in */git) exec /usr/bin/git "$@";; esac
END
/bin/chmod 755 "$1"
"""


@pytest.fixture
def venv_on_path(repo: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Its `bin`, first on PATH, as after `activate`: commands can write it."""
    make_venv(repo / ".venv")
    folder = repo / ".venv" / "bin"
    monkeypatch.setenv("VIRTUAL_ENV", str(repo / ".venv"))
    monkeypatch.setenv("PATH", f"{folder}:/usr/local/bin:/usr/bin:/bin")
    return folder


def changed(repo: Path) -> bool:
    return (repo / ".git" / "hooks" / "pre-commit").exists() or (
        repo / ".git" / "config"
    ).read_text().endswith("[core]\n")


@pytest.mark.parametrize("program", ["chmod", "mv", "rm"])
async def test_no_program_of_the_workspace_puts_git_in_order(
    repo: Path, venv_on_path: Path, open_sandbox: Opener, program: str
) -> None:
    """To open a folder of git's again, or to rename something in it, what is held of it is let go of."""
    planted = str(venv_on_path / program)
    without = await open_sandbox(unsafe=True)
    await without.workspace.run(["sh", "-c", f"{PLANT}{program} 700 .git", "sh", planted])
    assert changed(repo), "it does not work"
    (repo / ".git" / "hooks" / "pre-commit").unlink()
    git(repo, "config", "--remove-section", "core")
    git(repo, "config", "core.bare", "false")
    box = await open_sandbox()
    try:
        done = await box.workspace.run(["sh", "-c", "echo ../x > .git/commondir; /bin/chmod 0 .git"])
    except SandboxError as problem:
        pytest.fail(str(problem))
    assert "opened again" in done.output and "renamed to" in done.output
    assert not changed(repo)


async def test_nor_does_one_of_the_home_folder(
    repo: Path, home: Path, open_sandbox: Opener, monkeypatch: pytest.MonkeyPatch
) -> None:
    """That is in memory inside, and the commands' own, also where PATH names it."""
    monkeypatch.setenv("PATH", f"{home}:/usr/local/bin:/usr/bin:/bin")
    box = await open_sandbox()
    plant = ["sh", "-c", f"{PLANT}command -v chmod; /bin/chmod 0 .git", "sh", str(home / "chmod")]
    done = await box.workspace.run(plant)
    assert done.output.startswith(f"{home}/chmod\n"), "it does not work"
    assert "opened again" in done.output and not changed(repo)


async def test_no_program_of_the_workspace_is_asked_about_it(
    repo: Path, venv_on_path: Path, open_sandbox: Opener
) -> None:
    """At the start nothing is held fast yet, and git is asked what its configuration names."""
    git(repo, "config", "core.hooksPath", ".husky")
    (repo / ".husky").mkdir()
    (repo / "tool").mkdir()
    (repo / "tool" / "kept").write_text("")
    run(repo, PLANT, str(venv_on_path / "git"))
    git(repo, "status")  # found by the same PATH
    assert changed(repo), "it does not work"
    (repo / ".git" / "hooks" / "pre-commit").unlink()
    run(repo, "/usr/bin/git config core.bare false")
    before = (repo / ".git" / "config").read_bytes()
    await open_sandbox()
    assert not (repo / ".git" / "hooks" / "pre-commit").exists()
    assert (repo / ".git" / "config").read_bytes() == before


@pytest.mark.parametrize("name", ["index", "packed-refs", "HEAD", "refs/heads/waits"])
@pytest.mark.parametrize("bare", [True, False], ids=["bare", "sandboxed"])
async def test_git_waits_for_no_pipe(repo: Path, open_sandbox: Opener, name: str, bare: bool) -> None:
    """Nor does Ostro, whose programs ask git."""
    box = await open_sandbox(unsafe=bare)
    done = await box.workspace.run(["sh", "-c", 'rm -f "$1"; mkfifo "$1"', "sh", f".git/{name}"])
    assert (f"git would follow it: .git/{name} (a named pipe)]" in done.output) is not bare
    asked = "timeout 2 git for-each-ref && timeout 2 git ls-files; [ $? = 124 ] && touch waited.log"
    run(repo, asked)
    assert (repo / "waited.log").exists() is bare


@pytest.mark.parametrize(
    "brought",
    ["mkfifo .git", "mkdir g; echo 'gitdir: g' > .git; mkfifo g/gitdir",
     "mkdir g; echo 'gitdir: g' > .git; ln -s /dev/zero g/config"],
    ids=["a pipe", "a pointer to a pipe", "a pointer to a device"],
)  # fmt: skip
def test_a_tree_that_was_brought_holds_up_no_start(tmp_path: Path, brought: str) -> None:
    """In a process of its own: what hangs, or takes all the memory there is, is no failure of pytest's."""
    run(tmp_path, brought)
    ask = "import sys; from pathlib import Path; from sandbox.repository import find_repository as find"
    argv = ["timeout", "10", sys.executable, "-c", f"{ask}; find(Path(sys.argv[1]))", str(tmp_path)]
    limited = ["sh", "-c", 'ulimit -v 2000000; exec "$@"', "sh", *argv]
    done = subprocess.run(limited, cwd=ROOT, capture_output=True, check=False)
    assert b"\nsandbox.errors.NotARepository: " in done.stderr


async def test_what_lies_in_the_home_folder_changes_no_commit(repo: Path, box: Sandbox) -> None:
    """That is the commands' own, and git has names there that no setting has to name."""
    (repo / "README.md").write_text("mine\r\n", newline="")
    (repo / "new.txt").write_text("mine\n")
    plant = """
        mkdir -p ~/.config/git; echo '*' > ~/.config/git/ignore
        echo '*.md text eol=crlf' > ~/.config/git/attributes
        git status --porcelain; git hash-object README.md; git hash-object --no-filters README.md"""
    status, filtered, plain = (await box.workspace.run(["sh", "-c", plant])).output.splitlines()
    assert status == " M README.md" and filtered != plain, "it does not work"
    assert await box.history.uncommitted() == ["README.md", "new.txt"]
    author = Author("A", "a@example.org", "@1700000000 +0000")
    made = await box.history.commit(["README.md"], "mine", author, await box.history.head())
    assert git(repo, "rev-parse", f"{made}:README.md").strip() == plain
