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

NOBODY = 65534
ROOT = Path(__file__).parents[2]
SUITES = (
    "test_attacks.py", "test_attack_kernel.py", "test_attack_planting.py", "test_attack_processes.py",
    "test_files.py", "test_files_raced.py", "test_git_guard.py", "test_layers.py", "test_seccomp.py",
    "test_snapshots_exact.py", "test_tier_c.py",
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
    shutil.rmtree(home, ignore_errors=True)


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
