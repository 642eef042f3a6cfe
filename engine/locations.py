"""Where an engine process is met: its socket, lock and log, one set per user, model file and budget."""

from __future__ import annotations

import contextlib
import hashlib
import os
import stat
import tempfile
from dataclasses import dataclass
from pathlib import Path

import platformdirs

from engine.errors import EngineError, ModelNotFound

MAX_SOCKET_PATH = 100
"""Bytes; Linux allows 108 with the final zero, macOS 104."""
LONGEST_NAME = 32
"""A model's key, and a budget."""
_APP = "ostro"


@dataclass(frozen=True)
class Meeting:
    """The files through which clients and the host of one model find each other."""

    socket: Path
    lock: Path
    """Held by the host as long as it lives; never removed, so that two starts cannot both win."""
    log: Path
    stderr: Path
    """What the process said on stderr since it started (a crash of native code, say)."""


def model_key(model: Path) -> str:
    """Sixteen hex digits that stand for this very file or folder; one that changed is another model.

    Raises ModelNotFound.
    """
    try:
        real = model.resolve(strict=True)
        status = real.stat()
    except OSError:
        raise ModelNotFound(f"There is no model file at {model}.") from None
    identity = f"{real}\0{status.st_size}\0{status.st_mtime_ns}"
    return hashlib.sha256(identity.encode("utf-8", "surrogateescape")).hexdigest()[:16]


def meeting(model: Path, memory: int | None = None) -> Meeting:
    """Where the engine of this model and budget is met: what was told another budget is another engine.
    Makes the folders.

    Raises ModelNotFound or EngineError.
    """
    key = model_key(model)
    return beside(runtime_folder() / f"{key if memory is None else f'{key}-{memory:x}'}.sock")


def budgets_met(model: Path) -> dict[int | None, Path]:
    """The sockets of this model's engines, whatever their budgets; those of hosts that were killed as well.

    Raises ModelNotFound or EngineError.
    """
    found: dict[int | None, Path] = {}
    for socket in sorted(runtime_folder().glob(f"{model_key(model)}*.sock")):
        _, named, budget = socket.stem.partition("-")
        with contextlib.suppress(ValueError):
            found[int(budget, 16) if named else None] = socket
    return found


def beside(socket: Path) -> Meeting:
    """The meeting of a socket that was named outright; lock beside it, logs in the state folder."""
    state = Path(platformdirs.user_state_dir(_APP, appauthor=False))
    logs = private_folder(state / "engine")
    if logs is None:
        raise EngineError(f"No private folder for the engine's log can be made in {state}; check its owner.")
    name = socket.stem
    return Meeting(socket, socket.with_suffix(".lock"), logs / f"{name}.log", logs / f"{name}.stderr")


def runtime_folder() -> Path:
    """A folder of mode 0700 that only this user can enter, short enough to hold sockets.

    The session's runtime folder, else one in the user's cache, else one in the temporary folder.
    Raises EngineError.
    """
    candidates = [
        *_session_folders(),
        Path(platformdirs.user_cache_dir(_APP, appauthor=False)) / "run",
        Path(tempfile.gettempdir()) / f"{_APP}-{os.getuid()}",
    ]
    for folder in candidates:
        if len(os.fsencode(folder / f"{'0' * LONGEST_NAME}.sock")) > MAX_SOCKET_PATH:
            continue
        if (usable := private_folder(folder)) is not None:
            return usable
    tried = ", ".join(str(folder) for folder in candidates)
    raise EngineError(f"No private folder for the engine's socket can be made (tried {tried}).")


def _session_folders() -> list[Path]:
    """The login session's own folders. One that does not exist is never made: no session, no folder."""
    named = os.environ.get("XDG_RUNTIME_DIR", "")
    folders = [Path(named)] if Path(named).is_absolute() else []
    folders.append(Path(f"/run/user/{os.getuid()}"))
    return [folder / _APP for folder in folders if folder.is_dir() and folder.stat().st_uid == os.getuid()]


def private_folder(folder: Path) -> Path | None:
    """The folder, made where it is missing, if it is a real one of this user's with mode 0700; else None.

    A folder of ours with a wider mode is narrowed; a link or another user's folder is refused, because
    whoever made it could put a socket of their own there.
    """
    try:
        folder.parent.mkdir(parents=True, exist_ok=True)
        folder.mkdir(mode=0o700, exist_ok=True)
        status = folder.lstat()
        if not stat.S_ISDIR(status.st_mode) or status.st_uid != os.getuid():
            return None
        if stat.S_IMODE(status.st_mode) != 0o700:
            folder.chmod(0o700)
    except OSError:
        return None
    return folder if os.access(folder, os.W_OK | os.X_OK) else None
