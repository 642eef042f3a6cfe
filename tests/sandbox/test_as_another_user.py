"""The attacks once more, as a user without any rights: mostly another path through the kernel than root's."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import sysconfig
from collections.abc import Iterator
from pathlib import Path

import pytest

from sandbox.scratch import remove_tree

NOBODY = 65534
ROOT = Path(__file__).parents[2]
SUITES = (
    "test_attacks.py", "test_attack_git_aside.py", "test_attack_kernel.py", "test_attack_planting.py",
    "test_attack_processes.py",
    "test_files.py", "test_files_raced.py", "test_git_guard.py", "test_layers.py", "test_seccomp.py",
    "test_snapshots_exact.py", "test_tier_c.py",
    "test_disk.py", "test_git_service_quiet.py", "test_memory.py", "test_proxy.py", "test_recorder_links.py",
    "test_rooms.py", "test_toolchain.py",
    # Of these the attacks alone, for the rest of them takes minutes.
    "test_commands.py::test_a_hostile_venv_shows_nothing",
    "test_commands.py::test_path_entries_in_the_workspace",
    "test_commands.py::test_the_repository_cannot_bring_bubblewrap",
    "test_commands.py::test_what_is_lent_can_be_read_inside",
    "test_git_service.py::test_a_tree_cannot_name_any_folder_as_its_git_folder",
    "test_git_service.py::test_an_embedded_bare_repository_is_not_entered",
    "test_git_service.py::test_in_git_folders_outside_nothing_that_starts_programs_can_be_written",
    "test_network.py::test_a_hostile_program_does_not_harm_the_proxy",
    "test_network.py::test_a_name_that_leads_inwards_is_denied",
    "test_network.py::test_no_secret_of_the_caller_is_inside",
    "test_network.py::test_nothing_goes_past_the_proxy",
)  # fmt: skip
BECOME = ("setpriv", f"--reuid={NOBODY}", f"--regid={NOBODY}", "--clear-groups", "env")
"""With a program in between: the one that setpriv itself starts is still looked up with root's rights."""


@pytest.fixture
def nobodys_home() -> Iterator[Path]:
    """Not below pytest's own folder, which belongs to root."""
    home = Path(f"/tmp/ostro-nobody-{os.getpid()}")
    home.mkdir(mode=0o700)
    os.chown(home, NOBODY, NOBODY)
    yield home
    remove_tree(home)


def runs(python: str) -> bool:
    """Whether nobody may run this Python, and it is one for our packages."""
    program = f"import sys; sys.exit(sys.version_info[:2] != {sys.version_info[:2]})"
    done = subprocess.run([*BECOME, python, "-I", "-c", program], capture_output=True, check=False)
    return done.returncode == 0


@pytest.mark.skipif(os.getuid() != 0, reason="only root can become somebody else")
@pytest.mark.skipif(shutil.which("setpriv") is None, reason="no setpriv here (package util-linux)")
def test_the_sandbox_holds_for_nobody(nobodys_home: Path) -> None:
    minor = f"python3.{sys.version_info.minor}"
    candidates = [os.path.realpath(sys.executable), f"/usr/bin/{minor}", f"/usr/local/bin/{minor}"]
    python = next((path for path in candidates if os.path.exists(path) and runs(path)), None)
    if python is None or subprocess.run([*BECOME, "test", "-r", __file__], check=False).returncode != 0:
        pytest.skip("nobody can run this Python or read these files; no other one is here")
    ran = subprocess.run(
        [*BECOME, python, "-m", "pytest", "-q", "-p", "no:cacheprovider",
         f"--basetemp={nobodys_home}/tests",
         *(str(ROOT / "tests" / "sandbox" / suite) for suite in SUITES)],
        cwd=ROOT, capture_output=True, text=True, check=False,
        env={"HOME": str(nobodys_home), "PATH": os.defpath, "CI": "1", "PYTHONDONTWRITEBYTECODE": "1",
             "PYTHONPATH": sysconfig.get_path("purelib")},
    )  # fmt: skip
    assert ran.returncode == 0, ran.stdout[-4000:] + ran.stderr[-1000:]
    assert " passed" in ran.stdout
