"""The wheel, the command it installs, and what the command refuses to import."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import sysconfig
import textwrap
import venv
import zipfile
from pathlib import Path

import pytest

from tests.conftest import GitRepo

ROOT = Path(__file__).parents[1]
ROOMS = ("tui", "agent", "tools", "sandbox", "engine")


@pytest.fixture(scope="session")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Built from a copy, so that no build folder is left in the working tree."""
    source, built = tmp_path_factory.mktemp("source"), tmp_path_factory.mktemp("wheel")
    for name in ("pyproject.toml", "README.md", "LICENSE", "ostro.py"):
        shutil.copy(ROOT / name, source / name)
    for name in (*ROOMS, "tests", "bench"):
        shutil.copytree(ROOT / name, source / name, ignore=shutil.ignore_patterns("__pycache__", "results"))
    options = ["--no-deps", "--no-build-isolation", "--quiet", "--wheel-dir", str(built)]
    subprocess.run([sys.executable, "-m", "pip", "wheel", *options, str(source)], check=True)
    return next(built.glob("ostro-*.whl"))


@pytest.fixture(scope="session")
def installed(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A clean environment with the wheel in it, its dependencies borrowed from this one; the bin folder."""
    folder = tmp_path_factory.mktemp("environment")
    venv.create(folder, with_pip=False, symlinks=True)
    python = folder / "bin" / "python"
    options = ["--quiet", "--no-deps", "--no-index", "--disable-pip-version-check"]
    subprocess.run(
        [sys.executable, "-m", "pip", "--python", str(python), "install", *options, str(wheel)], check=True
    )
    places = subprocess.run(
        [python, "-c", "import sysconfig; print(sysconfig.get_path('purelib'))"],
        check=True,
        capture_output=True,
        text=True,
    )
    borrowed = {sysconfig.get_path("purelib"), sysconfig.get_path("platlib")}
    (Path(places.stdout.strip()) / "borrowed.pth").write_text("".join(f"{path}\n" for path in borrowed))
    return folder / "bin"


@pytest.fixture
def hostile_repository(tmp_path: Path, git_repo: GitRepo) -> Path:
    """A repository whose own modules have the names of Ostro's rooms; importing one leaves a mark."""
    trap = f"open({str(tmp_path / 'imported')!r}, 'a').write(__name__)\n"
    modules = ["agent.py", "sandbox.py", "pydantic.py", "platformdirs.py", "torch.py", "tools/__init__.py"]
    for room in ("engine", "tui"):
        names = ("__init__", "command_line", "catalogue", "client", "host", "request")
        modules += [f"{room}/{name}.py" for name in names]
    return git_repo(dict.fromkeys(modules, trap) | {"broken.gguf": b"GGUF"})


def environment(**more: str) -> dict[str, str]:
    return {name: value for name, value in os.environ.items() if name != "PYTHONPATH"} | more


def test_the_wheel_holds_the_rooms_and_their_prose(wheel: Path):
    names = set(zipfile.ZipFile(wheel).namelist())
    expected = {"ostro.py"}
    for room in ROOMS:
        for pattern in ("*.py", "*.md", "*.tcss"):
            expected |= {str(path.relative_to(ROOT)) for path in (ROOT / room).rglob(pattern)}
    assert {name for name in names if ".dist-info/" not in name} == expected
    assert any(name.endswith("licenses/LICENSE") for name in names)


def test_neither_tests_nor_benchmarks_are_in_the_wheel(wheel: Path):
    top = {name.partition("/")[0] for name in zipfile.ZipFile(wheel).namelist()}
    assert not top & {"tests", "bench"}


def test_the_installed_command_starts(installed: Path, tmp_path: Path):
    done = subprocess.run(
        [installed / "ostro", "--help"], cwd=tmp_path, env=environment(), capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    assert "fix" in done.stdout
    assert "models" in done.stdout


@pytest.mark.parametrize(
    ("command", "code"),
    [
        ("--help", 0),
        ("models list", 0),
        ("fix -- true", 0),
        ("fix --model broken.gguf -- false", 3),  # as far as the engine's process
    ],
)
@pytest.mark.parametrize("entry", ["script", "module"])
def test_a_repository_cannot_replace_a_room(
    entry: str, command: str, code: int, installed: Path, hostile_repository: Path
):
    start = [str(installed / "ostro")] if entry == "script" else [str(installed / "python"), "-m", "ostro"]
    for path in (".", f":{hostile_repository}"):
        done = subprocess.run(
            [*start, *command.split()],
            cwd=hostile_repository,
            env=environment(PYTHONPATH=path),
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
        )
        assert (done.returncode, "Traceback" in done.stderr) == (code, False), done.stderr
        assert not (hostile_repository.parent / "imported").exists(), done.stderr


def test_the_traps_work(installed: Path, hostile_repository: Path):
    code = "import agent, engine.client, tui.command_line"
    subprocess.run([installed / "python", "-c", code], cwd=hostile_repository, env=environment(), check=True)
    marks = (hostile_repository.parent / "imported").read_text()
    assert marks == "agent" + "engine" + "engine.client" + "tui" + "tui.command_line"


def test_the_users_pythonpath_stays_in_the_environment(installed: Path, tmp_path: Path):
    code = "import os, sys, ostro; ostro.clean_path(); print(os.environ['PYTHONPATH'], sys.path)"
    done = subprocess.run(
        [installed / "python", "-c", code],
        cwd=tmp_path,
        env=environment(PYTHONPATH="lib"),
        capture_output=True,
        text=True,
        check=True,
    )
    value, _, path = done.stdout.partition(" ")
    assert value == "lib"
    assert str(tmp_path) not in path
    assert "''" not in path


def test_a_pythonpath_that_names_ostros_own_place_does_no_harm(tmp_path: Path):
    done = subprocess.run(
        [sys.executable, "-c", "import ostro; ostro.clean_path(); import engine.catalogue"],
        cwd=tmp_path,
        env=environment(PYTHONPATH=str(ROOT)),
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr


def test_a_deleted_working_directory_does_no_harm(installed: Path, tmp_path: Path):
    gone = tmp_path / "gone"
    gone.mkdir()
    done = subprocess.run(
        ["sh", "-c", 'rmdir "$1" && exec "$0" --help', installed / "ostro", gone],
        cwd=gone,
        env=environment(),
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize("command", [["--help"], ["run", "--help"], ["models", "list"]])
def test_the_command_line_is_light(command: list[str], installed: Path, tmp_path: Path):
    program = f"""
    import sys, ostro
    sys.argv = ["ostro", *{command!r}]
    try:
        ostro.main()
    except SystemExit:
        pass
    heavy = {{"torch", "textual", "transformers", "numpy", "huggingface_hub"}}
    print(sorted(heavy & set(sys.modules)), file=sys.stderr)
    """
    done = subprocess.run(
        [installed / "python", "-c", textwrap.dedent(program)],
        cwd=tmp_path,
        env=environment(),
        capture_output=True,
        text=True,
    )
    assert done.stderr.strip() == "[]"
