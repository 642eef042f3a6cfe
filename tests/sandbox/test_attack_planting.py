"""What a command leaves behind for Ostro's own programs to find: none of it is loaded, followed or run."""

from __future__ import annotations

import asyncio
import os
import subprocess
import sys
from functools import partial
from pathlib import Path

import pytest

from sandbox import FileProblem, Sandbox

from .breaking_out import bare_and_sandboxed
from .conftest import SECRET, Opener, git

MINOR = f"{sys.version_info.major}.{sys.version_info.minor}"
# Each writes something that runs $EVIL, and then does what would run it: the proof that it works at all.
PLANTS = {
    "a module of the standard library": """
        for m in json os contextlib hashlib stat; do echo $PY > $m.py; done
        python3 -c 'import hashlib, json'""",
    "sitecustomize": "echo $PY > sitecustomize.py; PYTHONPATH=. python3 -c pass",
    "usercustomize": """
        D=$HOME/.local/lib/python$MINOR/site-packages; mkdir -p $D; echo $PY > $D/usercustomize.py
        python3 -c pass""",
    "a .pth file": """
        D=$HOME/.local/lib/python$MINOR/site-packages; mkdir -p $D; echo $PY > $D/evil.pth
        python3 -c pass""",
    "git's own settings": r"""
        printf '[core]\nfsmonitor="%s"\n[alias]\nst="!%s"\n' "$EVIL" "$EVIL" > $HOME/.gitconfig
        mkdir -p $HOME/.config/git; cp $HOME/.gitconfig $HOME/.config/git/config; git status""",
    "git's attributes and filters": r"""
        mkdir -p $HOME/.config/git; echo '* filter=x' > $HOME/.config/git/attributes
        printf '[filter "x"]\nclean="%s; cat"\n' "$EVIL" > $HOME/.gitconfig
        echo y > y; git add y; git reset -q y""",
    "programs in the workspace": r"""
        for p in git rm sh python3 env; do printf '#!/bin/sh\n%s\n' "$EVIL" > $p; /bin/chmod +x $p; done
        PATH=.:$PATH rm""",
    "programs in a tracked folder of PATH": r"""
        cd tool/bin; for p in git rm python3; do printf '#!/bin/sh\n%s\n' "$EVIL" > $p; chmod +x $p; done
        PATH=$PWD:$PATH rm""",
    "a shell's start files": """
        for f in .profile .bashrc .bash_profile .shrc; do echo "$EVIL" > $HOME/$f; done; sh -lc true""",
    "modules in /tmp": """
        for m in json os stat; do echo $PY > /tmp/$m.py; echo $PY > /dev/shm/$m.py; done
        cd /tmp; python3 -c 'import json'""",
    "a daemon that waits": 'sh -c "$EVIL"; setsid sh -c "sleep .7; $EVIL" > /dev/null 2>&1 &',
}


def obey(folder: Path, command: str) -> None:
    """The user's own git, on a terminal, which is what an attack waits for."""
    subprocess.run(["script", "-qec", command, "/dev/null"], cwd=folder, capture_output=True, check=False)


async def ostro_goes_on(box: Sandbox) -> None:
    """Everything of Ostro's own that starts a program or opens a file in the workspace."""
    workspace = box.workspace
    await workspace._files.close()  # it starts anew, and finds what was left in /tmp and the home folder
    await workspace.write("again.txt", b"x")
    await workspace.read("README.md")
    await workspace.listing(recursive=True)
    await workspace.newer(0)
    tree = await workspace.snapshot()
    await workspace.write("README.md", b"other\n")
    await workspace.diff(tree, await workspace.snapshot())
    await workspace.restore(tree, ["README.md"])
    await box.new_repositories()
    fork = await workspace.fork()
    await fork.snapshot()
    await fork.discard()


@pytest.mark.parametrize("name", PLANTS)
async def test_nothing_planted_runs(repo: Path, open_sandbox: Opener, name: str) -> None:
    (repo / "tool" / "bin").mkdir(parents=True)
    (repo / "tool" / "bin" / "kept").write_text("")
    git(repo, "add", "--all")
    box = await open_sandbox()
    marker = box.workspace.root / "marker"
    evil = f"touch {marker}"
    python = f"import os; os.system('touch {marker}')"
    env = {"EVIL": evil, "PY": python, "MINOR": MINOR}
    done = await box.workspace.run(["/bin/sh", "-c", PLANTS[name]], env=env, seconds=60)
    assert marker.exists(), f"it does not work: {done.output}"
    marker.unlink()
    await ostro_goes_on(box)
    assert not marker.exists()


CONFIGURED = {
    "clean filter": ("* filter=x\n", '[filter "x"]\n\tclean = {evil}; cat\n', "git add -A"),
    "smudge filter": ("* filter=x\n", '[filter "x"]\n\tsmudge = {evil}; cat\n', "git checkout ."),
    "process filter": ("* filter=x\n", '[filter "x"]\n\tprocess = {evil}; false\n', "git add -A"),
    "textconv": ("* diff=x\n", '[diff "x"]\n\ttextconv = {evil}; cat\n', "git diff"),
    "command of a diff": ("* diff=x\n", '[diff "x"]\n\tcommand = {evil}\n', "git diff"),
    "external diff": ("", "[diff]\n\texternal = {evil}\n", "git diff"),
    "merge driver": ("* merge=x\n", '[merge "x"]\n\tdriver = {evil}\n', "{evil}"),
    "fsmonitor": ("", '[core]\n\tfsmonitor = "{evil}"\n', "git status"),
    "pager": ("", '[core]\n\tpager = "{evil}"\n', "git -p log"),
    "included": ("", "[include]\n\tpath = ../included\n", "git status"),
    "hooks elsewhere": ("", "[core]\n\thooksPath = {repo}/evil-hooks\n", "git checkout -q -b other"),
}  # fmt: skip


@pytest.mark.parametrize("name", CONFIGURED)
async def test_what_a_repository_brings_runs_outside_never(
    repo: Path, tmp_path: Path, open_sandbox: Opener, name: str
) -> None:
    """A hostile repository's own settings; the host's git, where somebody starts it there, obeys them."""
    attributes, config, trigger = CONFIGURED[name]
    marker = tmp_path / "marker"
    fill = {"evil": f"touch {marker}", "repo": repo}
    (repo / ".gitattributes").write_text(attributes)
    (repo / "included").write_text(f'[core]\n\tfsmonitor = "touch {marker}"\n')
    hook = repo / "evil-hooks" / "post-checkout"
    hook.parent.mkdir()
    hook.write_text(f"#!/bin/sh\ntouch {marker}\n")
    hook.chmod(0o755)
    with (repo / ".git" / "config").open("a") as file:
        file.write(config.format(**fill))
    (repo / "README.md").write_text("changed\n")
    obey(repo, trigger.format(**fill))
    assert marker.exists(), "it does not work"
    marker.unlink()
    async with await open_sandbox() as box:
        await ostro_goes_on(box)
    assert not marker.exists()


async def test_a_bare_repository_in_the_tree_runs_nothing(
    repo: Path, tmp_path: Path, open_sandbox: Opener
) -> None:
    marker = tmp_path / "marker"
    bare = repo / "docs"
    git(repo, "init", "--quiet", "--bare", "docs")
    git(bare, "--git-dir=.", "--work-tree=.", "add", "HEAD")
    (bare / "config").write_text(
        f'[core]\n\trepositoryformatversion = 0\n\tworktree = ../src\n\tfsmonitor = "touch {marker}"\n'
    )
    obey(bare, "git status")
    assert marker.exists(), "it does not work"
    marker.unlink()
    async with await open_sandbox() as box:
        await ostro_goes_on(box)
        await box.workspace.run(["git", "status"], cwd="docs")
    assert not marker.exists()


LINKS = {
    "a file": "ln -s {secret} link",
    "a folder": "ln -s {folder} d; ln -s d/id_rsa link",
    "by its process": "ln -s /proc/self/root{secret} link",
    "many": "ln -s {folder} l0; for i in 1 2 3 4 5; do ln -s l$((i-1)) l$i; done; ln -s l5/id_rsa link",
    "relative": "ln -s $(realpath --relative-to=. {folder})/id_rsa link",
    "by its working folder": "ln -s /proc/self/cwd/../../home/.ssh/id_rsa link",
    "a link to itself": "ln -s link link",
    "the agent's own store": "ln -s {home}/.local/state/ostro link",
}


@bare_and_sandboxed
@pytest.mark.parametrize("name", LINKS)
async def test_no_planted_link_is_followed_out(
    repo: Path, home: Path, open_sandbox: Opener, name: str, bare: bool
) -> None:
    """Nor without a sandbox, where the file server alone stands between. Who opens it plainly is led out, by
    all but the one that is there for whoever would follow it without an end."""
    box = await open_sandbox(unsafe=bare)
    secret = home / ".ssh" / "id_rsa"
    script = LINKS[name].format(secret=secret, folder=secret.parent, home=home)
    await box.workspace.run(["sh", "-c", script], seconds=20)
    assert (repo / "link").is_symlink()
    followed = partial(subprocess.run, ["sh", "-c", "cat link || ls link/."], cwd=repo, capture_output=True)
    plainly = (await asyncio.to_thread(followed)).stdout.decode()
    if name == "a link to itself":
        assert plainly == ""
    else:
        assert ("snapshots" if name == "the agent's own store" else SECRET) in plainly, "it does not work"
    for path in ("link", "./src/../link", "link/id_rsa", "link/snapshots"):
        for attempt in (
            box.workspace.read(path),
            box.workspace.write(path, b"x"),
            box.workspace.listing(path),
        ):
            with pytest.raises(FileProblem) as problem:
                await attempt
            assert SECRET not in str(problem.value)
    tree = await box.workspace.snapshot()
    assert SECRET not in await box.workspace.diff(tree, tree)
    fork = await box.workspace.fork()
    for made in (fork, await fork.fork()):  # an overlay, where there are some, and a copy
        assert (await made.run(["test", "-L", "link"])).exit_code == 0, "copied as a link"
    await fork.discard()
    assert secret.read_text() == SECRET


@pytest.mark.parametrize("place", ["/tmp", "/dev/shm", "$HOME", "/run", "/var/tmp"])
async def test_nothing_is_left_on_the_host(repo: Path, open_sandbox: Opener, place: str) -> None:
    name = f"ostro-left-{os.getpid()}"
    for unsafe in (True, False):
        box = await open_sandbox(unsafe=unsafe)
        done = await box.workspace.run(["sh", "-c", f"touch {place}/{name} && echo {place}/{name}"])
        path = Path(done.output.strip() or "/nowhere")
        if unsafe and not path.exists():
            pytest.skip("cannot be written here without a sandbox either")
        assert path.exists() is unsafe
        path.unlink(missing_ok=True)


async def test_a_file_from_outside_cannot_be_linked_in(
    repo: Path, tmp_path: Path, open_sandbox: Opener
) -> None:
    """Else a write to the link would be one to the file."""
    outside = tmp_path / "outside"
    outside.write_text("untouched")
    script = f'ln {outside} mine && echo changed > mine; ln /etc/hostname mine2 && echo "" >> mine2; true'
    await (await open_sandbox(unsafe=True)).workspace.run(["sh", "-c", f"ln {outside} mine"])
    assert (repo / "mine").stat().st_nlink == 2, "it does not work"
    (repo / "mine").unlink()
    before = Path("/etc/hostname").read_bytes() if os.path.exists("/etc/hostname") else b""
    await (await open_sandbox()).workspace.run(["sh", "-c", script])
    assert outside.read_text() == "untouched"
    assert not (repo / "mine").exists() and not (repo / "mine2").exists()
    assert not before or Path("/etc/hostname").read_bytes() == before


async def test_exec_path_and_aliases_stay_inside(repo: Path, tmp_path: Path, open_sandbox: Opener) -> None:
    marker = tmp_path / "marker"
    (repo / "e").mkdir()
    (repo / "e" / "git-x").write_text(f"#!/bin/sh\ntouch {marker}\n")
    (repo / "e" / "git-x").chmod(0o755)
    for script in ("git --exec-path=$PWD/e x", f"git -c alias.x='!touch {marker}' x"):
        await (await open_sandbox(unsafe=True)).workspace.run(["sh", "-c", script])
        assert marker.exists(), "it does not work"
        marker.unlink()
        await (await open_sandbox()).workspace.run(["sh", "-c", script])
        assert not marker.exists()
