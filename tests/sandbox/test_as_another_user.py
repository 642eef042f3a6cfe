"""The attacks once more, as a user without any rights: mostly another path through the kernel than root's.

Left out is one test that needs a checkout of his own (NOT_HIS) and, for its time, what tests that work goes
on in forks and of programs inside. A test is skipped where he could not do bare what it denies, as only root
can, and where a package manager lies in root's home folder, which he cannot read.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path

import pytest

from sandbox.scratch import remove_tree

NOBODY = 65534
ROOT = Path(__file__).parents[2]
ATTACKS = (
    "test_attacks.py",
    "test_attack_git_aside.py",
    "test_attack_kernel.py",
    "test_attack_planting.py",
    "test_attack_processes.py",
    "test_seccomp.py",
)
ROOMS = (
    "test_attack_limits.py", "test_disk.py", "test_layers.py", "test_memory.py", "test_rooms.py",
    "test_tier_c.py", "test_toolchain.py",
    # Of these the attacks alone, for the rest of them takes minutes.
    "test_commands.py::test_a_hostile_venv_shows_nothing",
    "test_commands.py::test_path_entries_in_the_workspace",
    "test_commands.py::test_the_repository_cannot_bring_bubblewrap",
    "test_commands.py::test_what_is_lent_can_be_read_inside",
    "test_forks.py::test_a_fork_is_as_closed_as_the_workspace",
    "test_forks.py::test_a_fork_is_open_without_a_sandbox",
    "test_forks.py::test_a_sandbox_started_anew_shares_nothing_else",
    "test_forks.py::test_what_is_shared_is_not_written",
    "test_forks.py::test_what_is_shared_was_there_when_the_fork_was_made",
)  # fmt: skip
FILES = (
    "test_files.py", "test_files_raced.py", "test_pipes.py", "test_recorder_links.py",
    "test_snapshots_exact.py", "test_snapshots_trap.py",
    "test_scratch.py::test_a_plain_removal_follows_a_link",
    "test_scratch.py::test_no_link_is_followed_and_no_permission_needed",
)  # fmt: skip
GIT_AND_NETWORK = (
    "test_git_guard.py", "test_git_service.py", "test_git_service_quiet.py", "test_git_unfinished.py",
    "test_keepsake.py", "test_network.py", "test_proxy.py",
)  # fmt: skip
MACHINE = ("test_attack_limits.py", "test_memory.py")
NOT_HIS = ("test_git_service.py::test_gitpython_stays_out_of_this_process",)
"""It opens this very checkout, which is root's, and git enters no repository of somebody else's."""
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


@pytest.fixture
def nobodys_python() -> str:
    if os.getuid() != 0:
        pytest.skip("only root can become somebody else")
    if shutil.which("setpriv") is None:
        pytest.skip("no setpriv here (package util-linux)")
    minor = f"python3.{sys.version_info.minor}"
    candidates = [os.path.realpath(sys.executable), f"/usr/bin/{minor}", f"/usr/local/bin/{minor}"]
    python = next((path for path in candidates if os.path.exists(path) and runs(path)), None)
    if python is None or subprocess.run([*BECOME, "test", "-r", __file__], check=False).returncode != 0:
        pytest.skip("nobody can run this Python or read these files; no other one is here")
    return python


@pytest.mark.parametrize("suites", [ATTACKS, ROOMS, FILES, GIT_AND_NETWORK], ids=lambda suites: suites[0])
def test_the_sandbox_holds_for_nobody(nobodys_python: str, nobodys_home: Path, suites: Sequence[str]) -> None:
    _hold(nobodys_python, nobodys_home, suites, "not alone")


@pytest.mark.alone
def test_limits_of_the_machine_hold_for_nobody(nobodys_python: str, nobodys_home: Path) -> None:
    _hold(nobodys_python, nobodys_home, MACHINE, "alone")


def _hold(python: str, home: Path, suites: Sequence[str], which: str) -> None:
    """Runs tests as nobody, all of which have to pass; `which` is pytest's -m."""
    ran = subprocess.run(
        [*BECOME, python, "-m", "pytest", "-q", "-p", "no:cacheprovider", "-m", which,
         f"--basetemp={home}/tests",
         *(f"--deselect=tests/sandbox/{test}" for test in NOT_HIS),
         *(str(ROOT / "tests" / "sandbox" / suite) for suite in suites)],
        cwd=ROOT, capture_output=True, text=True, check=False,
        env={"HOME": str(home), "PATH": os.defpath, "CI": "1", "PYTHONDONTWRITEBYTECODE": "1",
             # Also what a .pth file of an environment names.
             "PYTHONPATH": os.pathsep.join(path for path in sys.path if path.endswith("-packages"))},
    )  # fmt: skip
    assert ran.returncode == 0, ran.stdout[-4000:] + ran.stderr[-1000:]
    assert " passed" in ran.stdout
