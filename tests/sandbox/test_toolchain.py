"""What of a home folder PATH makes readable: installations of known layouts whole, else programs alone."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from sandbox.toolchain import path_outside, survey

from .conftest import SECRET, Opener

LAYOUTS = [
    ("venv/bin", "pyvenv.cfg", "venv"),
    ("python/bin", "lib/python3.12/os.py", "python"),
    ("fedora/bin", "lib64/python3.12/os.py", "fedora"),
    ("pypy/bin", "lib/pypy3.10/os.py", "pypy"),
    ("conda/condabin", "conda-meta/history", "conda"),
    (".nvm/versions/node/v20/bin", "lib/node_modules/npm/package.json", ".nvm/versions/node/v20"),
    (".rustup/toolchains/stable/bin", "lib/rustlib/components", ".rustup"),
    ("go/bin", "src/cmd/go/main.go", "go"),
    ("jdk/bin", "lib/modules", "jdk"),
    ("brew/bin", "Cellar/jq/1.7/bin/jq", "brew"),
    (".manager/shims", "versions/1.0/bin/x", ".manager"),
    (".mise/installs/tool/1.0/bin", "../../../shims/tool", ".mise/installs/tool/1.0"),
    (".sdkman/candidates/tool/1.0/bin", "../../../bin/sdkman-init.sh", ".sdkman/candidates/tool/1.0"),
]


def readable(home: Path, root: Path, *entries: Path) -> list[Path]:
    environ = {"PATH": os.pathsep.join(map(str, entries))}
    return [p for p in survey(environ, root, [home], home).readable if p.is_relative_to(home)]


def touch(file: Path) -> None:
    file.parent.mkdir(parents=True, exist_ok=True)
    file.touch()


@pytest.mark.parametrize(("entry", "mark", "bound"), LAYOUTS, ids=[entry for entry, _, _ in LAYOUTS])
def test_an_installation_is_bound_as_a_whole(repo: Path, home: Path, entry: str, mark: str, bound: str):
    touch(home / entry / "program")
    touch(Path(os.path.normpath(home / entry / ".." / mark)))

    assert readable(home, repo, home / entry) == [home / bound]


@pytest.mark.parametrize("beside", ["lib", "lib64", "libexec", "versions", "installs", "candidates"])
def test_a_folder_of_ones_own_shows_its_programs_alone(repo: Path, home: Path, beside: str):
    for file in ("bin/hello", f"{beside}/own/notes", ".env"):
        touch(home / "code" / file)

    assert readable(home, repo, home / "code" / "bin") == [home / "code" / "bin"]


@pytest.mark.parametrize("wide", [".", ".local", ".cargo", ".config"])
def test_a_home_folder_is_no_installation(repo: Path, home: Path, wide: str):
    touch(home / wide / "bin" / "program")
    touch(home / wide / "lib" / "node_modules" / "npm" / "package.json")

    assert readable(home, repo, home / wide / "bin") == [home / wide / "bin"]
    assert readable(home, repo, home / wide) == [], "also where PATH names it"


def test_what_a_link_among_the_programs_leads_to(repo: Path, home: Path):
    """A single file in a folder of one's own; a Node package with the modules that it loads."""
    for file in ("bin/x", "code/bin/run", "code/lib/own", ".env", "code/.env"):
        touch(home / file)
    package = home / ".local/lib/node_modules/@scope/compiler"
    touch(package / "package.json")
    touch(package / "bin" / "compile")
    (home / "bin" / "run").symlink_to(home / "code" / "bin" / "run")
    (home / "bin" / "compile").symlink_to(package / "bin" / "compile")

    assert set(readable(home, repo, home / "bin")) == {home / "bin", home / "code/bin/run", package}


async def test_a_secret_beside_bin_and_lib_is_not_seen(
    home: Path, open_sandbox: Opener, monkeypatch: pytest.MonkeyPatch
):
    for file in ("bin/hello", "lib/own", "secrets/.env"):
        touch(home / "code" / file)
    (home / "code" / "secrets" / ".env").write_text(SECRET)
    monkeypatch.setenv("PATH", os.pathsep.join([str(home / "code" / "bin"), os.environ["PATH"]]))
    script = ["sh", "-c", f"ls -A {home}/code; cat {home}/code/secrets/.env"]
    bare = await (await open_sandbox(unsafe=True)).workspace.run(script)
    assert SECRET in bare.output
    box = await open_sandbox()
    shown = await box.workspace.run(script)

    assert shown.output.startswith("bin\ncat: ") and SECRET not in shown.output


def test_a_path_outside_is_led_through_the_workspace_by_no_link(tmp_path: Path) -> None:
    root, elsewhere = tmp_path / "project", tmp_path / "elsewhere"
    for folder in (root / "bin", elsewhere / "bin"):
        folder.mkdir(parents=True)
    (root / "out").symlink_to(elsewhere)
    (elsewhere / "in").symlink_to(root)
    (elsewhere / "through").symlink_to(root / "out" / "bin")
    inside = [root / "bin", root / "out" / "bin", elsewhere / "in" / "bin", elsewhere / "through"]
    path = os.pathsep.join(["relative", *map(str, inside), str(elsewhere / "bin"), "/usr/bin"])
    assert path_outside(path, root) == f"{elsewhere}/bin{os.pathsep}/usr/bin"
    assert path_outside(str(root / "bin"), root) == os.defpath
