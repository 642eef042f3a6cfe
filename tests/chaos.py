"""What tests of the worst cases are made of: whole pictures of a tree, seeded changes, a full disk, a kill.

For the long runs as well as for the slices of them in the suite.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import random
import shutil
import signal
import stat
import subprocess
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

Picture = dict[bytes, tuple[int, bytes]]
"""By path: permissions with the kind, and the content, or where a link points to."""
NAMES = (
    b"plain.txt",
    b"two\nlines.txt",
    b"not utf-8 \xff\xfe.bin",
    "naïve 文.py".encode(),
    b":(top)*[a].txt",
    b"-n",
)


def picture(root: Path, *, git: bool = False) -> Picture:
    """Everything below `root`, inner git folders and empty folders too; its own `.git` only with `git`."""
    found: Picture = {}
    top = os.fsencode(root)
    for here, folders, files in os.walk(top):
        if here == top and not git and b".git" in folders:
            folders.remove(b".git")
        for name in [*folders, *files]:
            path = os.path.join(here, name)
            status = os.lstat(path)
            content = b""
            if stat.S_ISLNK(status.st_mode):
                content = os.readlink(path)
            elif stat.S_ISREG(status.st_mode):
                content = Path(os.fsdecode(path)).read_bytes()
            found[os.path.relpath(path, top)] = (status.st_mode, content)
    return found


def digest(found: Picture) -> str:
    return hashlib.sha256(repr(sorted(found.items())).encode()).hexdigest()


def repository_state(repo: Path) -> str:
    """Of the repository's own `.git`: every byte, every permission, every time of change."""
    state = hashlib.sha256()
    for path in sorted((repo / ".git").rglob("*")):
        status = path.lstat()
        state.update(f"{path} {status.st_mode} {status.st_mtime_ns}\n".encode())
        state.update(path.read_bytes() if path.is_file() else b"")
    return state.hexdigest()


def change_something(root: Path, draw: random.Random) -> None:
    """One to five changes of any kind: contents, permissions, links, empty folders, whole folders."""
    top = os.fsencode(root)
    for _ in range(draw.randint(1, 5)):
        folder = os.path.join(top, draw.choice([b".", b"a", b"a/b", b"c d", b"inner", b"inner/deep"]))
        path = os.path.join(folder, draw.choice(NAMES))
        match draw.randrange(8):
            case 0:
                _clear(folder if folder != os.path.join(top, b".") else path)
            case 1:
                _clear(path)
                _folder(path)
            case 2:
                _clear(path)
                _folder(folder)
                os.symlink(draw.choice([b"plain.txt", b"/etc/hostname", b"nowhere\n"]), path)
            case 3 if os.path.isfile(path) and not os.path.islink(path):
                os.chmod(path, draw.choice([0o600, 0o644, 0o755, 0o640, 0o444]))
            case 4 if os.path.isdir(folder):
                os.chmod(folder, draw.choice([0o700, 0o755, 0o750]))
            case _:
                _clear(path)
                _folder(folder)
                with open(path, "wb") as file:
                    file.write(draw.randbytes(draw.choice([0, 10, 300, 90_000])))


def _folder(path: bytes) -> None:
    with contextlib.suppress(FileExistsError):
        os.makedirs(path)


def _clear(path: bytes) -> None:
    if os.path.isdir(path) and not os.path.islink(path):
        shutil.rmtree(path)
    elif os.path.lexists(path):
        os.unlink(path)


def lines_until_killed(argv: Sequence[str], *, cwd: Path, seconds: float) -> list[str]:
    """The whole lines that a program printed before it was killed, so long after the first of them."""
    with subprocess.Popen(argv, cwd=cwd, stdout=subprocess.PIPE) as process:
        assert process.stdout
        first = process.stdout.readline()
        time.sleep(seconds)
        os.kill(process.pid, signal.SIGKILL)
        lines = (first + process.stdout.read()).split(b"\n")[:-1]
    return [line.decode() for line in lines]


@contextlib.contextmanager
def small_disk(place: Path, size: int) -> Iterator[Path]:
    """A file system of its own with so many bytes. Raises OSError where this user may not mount one."""
    place.mkdir(mode=0o700)
    done = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", f"size={size},mode=0700", "none", str(place)], capture_output=True
    )
    if done.returncode != 0:
        raise OSError(os.fsdecode(done.stderr).strip())
    try:
        yield place
    finally:
        subprocess.run(["umount", "--lazy", str(place)], check=True)


def fill(place: Path, leave: int = 0) -> Path:
    """Takes all the room of a file system but `leave` bytes; the file to delete for having it back."""
    file = place / "filling"
    with contextlib.suppress(OSError), file.open("wb", buffering=0) as writer:
        while True:
            writer.write(bytes(1 << 16))
    if leave:
        os.truncate(file, max(0, file.stat().st_size - leave))
    return file
