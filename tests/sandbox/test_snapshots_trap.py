"""Traps that a command lays for the recorder, and for Ostro itself, around the store."""

from __future__ import annotations

import asyncio
import os
import shutil
import subprocess
from functools import partial
from pathlib import Path

import platformdirs
import pytest

from sandbox import Sandbox, SandboxError

from .conftest import Opener, git, make_venv, shell

PLANTED = """#!/bin/sh
touch "$0.ran"
rm -rf /run/ostro/store/objects /run/ostro/store/plain
exec /usr/bin/git "$@"
"""


def the_store() -> Path:
    [folder] = (Path(platformdirs.user_state_dir("ostro", appauthor=False)) / "snapshots").iterdir()
    return folder


@pytest.mark.parametrize("folder", [".venv/bin", "tool/bin"])
async def test_no_git_of_the_workspace_is_run(
    repo: Path, open_sandbox: Opener, monkeypatch: pytest.MonkeyPatch, folder: str
) -> None:
    make_venv(repo / ".venv")
    (repo / "tool" / "bin").mkdir(parents=True)
    (repo / "tool" / "bin" / "kept").write_text("")
    git(repo, "add", "--force", "tool")
    git(repo, "commit", "--quiet", "--message", "a tracked folder of programs")
    monkeypatch.setenv("PATH", f"{repo / folder}{os.pathsep}{os.environ['PATH']}")
    box = await open_sandbox()
    a = await box.workspace.snapshot()

    plant = 'printf "%s" "$2" > "$1/git"; chmod +x "$1/git"; echo new > new.txt; rm README.md'
    await shell(box, plant, str(repo / folder), PLANTED)
    assert (repo / folder / "git").exists()
    # A command of the model's runs it, where no store lies: the trap works.
    await shell(box, "git --version")
    assert list(repo.rglob("*.ran"))
    (repo / folder / "git.ran").unlink()

    b = await box.workspace.snapshot()
    assert "new.txt" in await box.workspace.changed(a, b)
    assert "+new" in await box.workspace.diff(a, b)
    await box.workspace.listing(recursive=True)
    await box.workspace.restore(a)
    assert (repo / "README.md").read_text() == "read me\n"
    assert not list(repo.rglob("*.ran"))


async def test_the_recorder_cannot_write_what_git_is_told_by(box: Sandbox, tmp_path: Path) -> None:
    """Should a program of the repository's run in it all the same."""
    recorder = box.workspace._snapshots
    await box.workspace.snapshot()
    attack = "echo x > {0}/info/exclude; mv {0} moved; rm -r {0}; touch ours && ls"
    script = f"cd /run/ostro/store; {attack}"
    for name in ("plain", "binary"):
        another = tmp_path / name
        shutil.copytree(the_store(), another)
        argv = ["sh", "-c", attack.format(name)]
        bare = await asyncio.to_thread(partial(subprocess.run, argv, cwd=another, capture_output=True))
        assert b"moved" in bare.stdout.split() and not (another / name).exists()
        assert (another / "moved" / "info" / "exclude").read_text() == "x\n"
        done = await recorder._run(["sh", "-c", script.format(name)], {})
        assert name in done.stdout.text().split() and "ours" in done.stdout.text().split()
        assert (the_store() / name / "info" / "attributes").is_file()
        assert done.stderr.text().count("Read-only") + done.stderr.text().count("busy") >= 2


@pytest.mark.parametrize("trap", ["plain", "plain/info", "index"])
async def test_a_link_in_the_store_leads_nowhere(
    repo: Path, open_sandbox: Opener, tmp_path: Path, trap: str
) -> None:
    first = await open_sandbox()
    await first.workspace.snapshot()
    await first.close()
    outside = tmp_path / "outside"
    outside.mkdir()
    (the_store() / trap).rename(the_store() / "moved")
    (the_store() / trap).symlink_to(outside)
    (the_store() / trap / "through").write_text("")
    (outside / "through").unlink()
    with pytest.raises(SandboxError, match="remove it"):
        await open_sandbox()
    assert not list(outside.iterdir())


async def test_a_file_of_the_store_that_is_a_link(repo: Path, open_sandbox: Opener, tmp_path: Path) -> None:
    first = await open_sandbox()
    a = await first.workspace.snapshot()
    await first.close()
    outside = tmp_path / "outside"
    outside.write_text("mine")
    exclude = the_store() / "plain" / "info" / "exclude"
    exclude.unlink()
    exclude.symlink_to(outside)
    exclude.write_text("through")
    assert outside.read_text() == "through"
    outside.write_text("mine")
    second = await open_sandbox()
    assert await second.workspace.snapshot() == a
    assert outside.read_text() == "mine" and not exclude.is_symlink()


async def test_no_folder_is_hidden_as_a_virtual_environment(repo: Path, open_sandbox: Opener) -> None:
    make_venv(repo / "tracked")
    git(repo, "add", "--force", "tracked/pyvenv.cfg")
    (repo / "bare").mkdir()
    (repo / "bare" / "pyvenv.cfg").write_text("")
    box = await open_sandbox()
    a = await box.workspace.snapshot()
    await shell(
        box,
        "for f in src tracked bare made; do mkdir -p $f/bin; touch $f/pyvenv.cfg $f/bin/python $f/new; done",
    )
    plainly = {found.parent.name for found in repo.glob("*/pyvenv.cfg")}
    assert plainly == {"src", "tracked", "bare", "made"}, "whoever looks for this file leaves them all out"
    b = await box.workspace.snapshot()
    changed = set(await box.workspace.changed(a, b))
    assert {"src/new", "tracked/new", "bare/new", "made/new"} <= changed
    assert "b/made/new" in await box.workspace.diff(a, b)
    fork = await box.workspace.fork()
    assert await fork.changed(a, await fork.snapshot()) == sorted(changed)
    assert "src/new" in {entry.path for entry in await box.workspace.listing(recursive=True)}
    await box.workspace.restore(a)
    assert not (repo / "src" / "new").exists() and not (repo / "made").exists()


@pytest.mark.parametrize("name", [b"*", b"sr?", b"[a-z]*", b"back\\slash", b"odd \xff", b"a\n*"])
async def test_a_virtual_environment_of_any_name(repo: Path, open_sandbox: Opener, name: bytes) -> None:
    venv = Path(os.fsdecode(os.path.join(os.fsencode(repo), name)))
    make_venv(repo / "plain")
    (repo / "plain").rename(venv)
    box = await open_sandbox()
    a = await box.workspace.snapshot()
    (repo / "src" / "new").write_text("new")
    (repo / "other").write_text("new")
    (venv / "new").write_text("new")
    changed = await box.workspace.changed(a, await box.workspace.snapshot())
    assert {"src/new", "other"} <= set(changed)
    assert b"\n" in name or len(changed) == 2, "it is left out by its own name"
    assert "src/new" in {entry.path for entry in await box.workspace.listing(recursive=True)}


SOCKET = "python3 -c 'import socket, sys; socket.socket(socket.AF_UNIX).bind(sys.argv[1])' "


TRAPS = {
    "socket git": f"cd trap; {SOCKET} .git",
    "pipe git": "mkfifo trap/.git",
    "socket gitignore": f"cd trap; {SOCKET} .gitignore",
    "pipe gitignore": "mkfifo trap/.gitignore",
    "pipe gitignore, read-only": "mkfifo -m 444 trap/.gitignore",
    "pipe gitignore, closed": "mkfifo -m 0 trap/.gitignore",
    "pipe attributes": "mkfifo .gitattributes trap/.gitattributes",
    "pipe config": "git init -q trap; cd trap; echo '*' > .gitignore; rm .git/config; mkfifo .git/config",
    "pipe HEAD": "git init -q trap; cd trap; echo '*' > .gitignore; rm .git/HEAD; mkfifo .git/HEAD",
    "pipe index": "git init -q trap; cd trap; echo '*' > .gitignore; mkfifo .git/index",
}


@pytest.mark.parametrize("trap", TRAPS.values(), ids=TRAPS)
async def test_pipes_and_sockets_of_gits_names_stop_nothing(repo: Path, box: Sandbox, trap: str) -> None:
    """Git waits for whoever may write into a pipe, and no socket can be opened."""
    a = await box.workspace.snapshot()
    await shell(box, f"mkdir trap; echo file > trap/file; echo more >> README.md; {trap}; ls -lR trap")
    async with asyncio.timeout(30):
        b = await box.workspace.snapshot()
        assert "README.md" in await box.workspace.changed(a, b)
        assert "+more" in await box.workspace.diff(a, b)
        await box.workspace.restore(a)
    assert (repo / "README.md").read_text() == "read me\n"


WAITED = {
    "ignored names": "mkfifo src/.gitignore; touch src/x",
    "ignored names, read-only": "mkfifo -m 444 src/.gitignore; touch src/x",
    "attributes": "mkfifo .gitattributes",
    "attributes, read-only": "mkfifo -m 444 .gitattributes src/.gitattributes",
    "HEAD of what a pointer names": "mkdir in x; touch in/x; echo 'gitdir: ../x' > in/.git; mkfifo x/HEAD",
    "HEAD inside": "git init -q in; touch in/x; rm in/.git/HEAD; mkfifo in/.git/HEAD",
}


@pytest.mark.parametrize("trap", WAITED.values(), ids=WAITED)
async def test_no_pipe_holds_up_a_listing_or_the_git_service(repo: Path, box: Sandbox, trap: str) -> None:
    await shell(box, f"{trap}; echo more >> README.md")
    async with asyncio.timeout(20):
        listed = await box.workspace.listing(recursive=True)
        assert "README.md" in {entry.path for entry in listed}
        assert "README.md" in await box.history.uncommitted()
