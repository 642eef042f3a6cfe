"""The journal: everything a run did, appended to one JSONL file, from which it can be resumed.

A record is one line, written by one `write` to a file opened for appending, so a process killed at
any byte leaves whole records and at most one torn line at the end. A reader leaves that line out;
a writer that reopens the file cuts it off first. Secrets are masked in every text (agent/secrets.py).
"""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import json
import os
import secrets
import time
from collections.abc import Collection, Iterator
from pathlib import Path
from typing import Any

import platformdirs
from pydantic import BaseModel

from agent.ending import EnvironmentProblem, WrongUsage
from agent.secrets import masked, masked_pieces

Record = dict[str, Any]
"""`{"kind": ...}` with, by kind: `options`, `event`, `message`, `tree` and `label`, `connection`, `fault`."""
STREAMED = ("text", "thinking", "tool_output")
"""Events that are pieces of one text."""
_MOVE = {"step": int, "tree": str, "label": str, "saved": str, "back": int}
_HOLDS: dict[str, dict[str, type]] = {
    "options": {"options": dict},
    "event": {"event": dict},
    "message": {"message": dict},
    "tree": {"tree": str, "label": str},
    "undo": _MOVE,
    "redo": _MOVE,
}
"""What each record of a kind has, where others than its own kind's readers look at it."""
_COMPARED = frozenset({"repository", "before"})
"""Kinds that hold names of paths and refs alone, which are compared with those that are there later."""
_NAMES_A_RECORD = frozenset({"kind", "tree", "path", "sha256"})
_NAMES_ITS_CONTENT = frozenset(
    {"type", "v", "kind", "role", "id", "tool_call_id", "tree", "repo", "resume", "phase", "effort"}
    | {"state", "decision", "verdict", "outcome", "approve", "images"}
)
"""Fields that say which record this is, or that `--resume` needs to the letter: no text of anybody's."""


def state_folder() -> Path:
    return platformdirs.user_state_path("ostro")


def sessions_folder() -> Path:
    return state_folder() / "sessions"


def new_session_id() -> str:
    """Sorts by the time it was made, also within a second: the latest session is the one to undo."""
    second, fraction = divmod(time.time_ns(), 1_000_000_000)
    when = time.strftime("%Y%m%d-%H%M%S", time.localtime(second))
    return f"{when}-{fraction * 0x1000 // 1_000_000_000:03x}{secrets.token_hex(3)}"


class Journal:
    """Append-only records of one session. Not for two processes at once: see `repository_lock`."""

    def __init__(self, path: Path, fd: int) -> None:
        self.path = path
        self._fd = fd
        self._held: list[dict[str, Any]] = []
        """Pieces of a text that still streams: a secret may lie across them."""

    @property
    def session(self) -> str:
        return self.path.parent.name

    @classmethod
    def create(cls, session: str | None = None) -> Journal:
        """A new, empty journal. Raises EnvironmentProblem where the state folder cannot be written."""
        folder = sessions_folder() / (session or new_session_id())
        try:
            _private_folder(folder)
            return cls(folder / "journal.jsonl", _open(folder / "journal.jsonl", os.O_CREAT | os.O_EXCL))
        except OSError as error:
            raise EnvironmentProblem(
                f"The journal cannot be written in {folder} ({error.strerror})."
            ) from error

    @classmethod
    def reopen(cls, session: str) -> Journal:
        """The journal of an earlier session, its torn last line cut off. WrongUsage: no such session."""
        path = find(session)
        try:
            fd = _open(path, 0)
        except OSError as error:
            raise EnvironmentProblem(f"The journal {path} cannot be opened ({error.strerror}).") from error
        os.ftruncate(fd, _sound_length(path.read_bytes()))
        return cls(path, fd)

    def append(self, kind: str, *, sync: bool = False, **fields: Any) -> None:
        """Writes one record; with `sync`, returns only when it is on the disk."""
        lines = self._released()
        plain = {key: _plain(value) for key, value in fields.items()}
        shown = plain if kind in _COMPARED else _masked(plain, _NAMES_A_RECORD, _NAMES_ITS_CONTENT)
        lines.append({"kind": kind, **(_without_spelling(shown, plain) if kind == "message" else shown)})
        self._write(lines, sync)

    def append_event(self, event: BaseModel) -> None:
        """An event; a piece of a text only once the text has ended, so that no secret lies across pieces."""
        fields = event.model_dump(mode="json")
        if fields["type"] not in STREAMED:
            self.append("event", event=fields)
            return
        if self._held and _stream(self._held[-1]) != _stream(fields):
            self._write(self._released())
        self._held.append(fields)

    def _released(self) -> list[Record]:
        held, self._held = self._held, []
        texts = masked_pieces([event["text"] for event in held])
        return [
            {"kind": "event", "event": {**event, "text": text}}
            for event, text in zip(held, texts, strict=True)
        ]

    def _write(self, records: list[Record], sync: bool = False) -> None:
        lines = [json.dumps(record, ensure_ascii=False, separators=(",", ":")) for record in records]
        data = b"".join(line.encode("utf-8", "backslashreplace") + b"\n" for line in lines)
        try:
            written = os.write(self._fd, data)
            if written < len(data):
                os.ftruncate(self._fd, os.fstat(self._fd).st_size - written)
                raise OSError(28, "no space left on device")
            if sync:
                os.fsync(self._fd)
        except OSError as error:
            raise EnvironmentProblem(
                f"The journal {self.path} cannot be written ({error.strerror})."
            ) from error

    def records(self) -> list[Record]:
        return read(self.path)

    def close(self) -> None:
        if self._fd < 0:
            return
        with contextlib.suppress(EnvironmentProblem):  # the pieces of an answer that nobody waited for
            self._write(self._released())
        os.close(self._fd)
        self._fd = -1


def find(session: str) -> Path:
    """Where the journal of a session lies. WrongUsage: no such session."""
    path = sessions_folder() / session / "journal.jsonl"
    if session != Path(session).name or not os.path.isfile(path):
        raise WrongUsage(f"There is no session {session!r}; `ostro sessions list` names those there are.")
    return path


def read(path: Path) -> list[Record]:
    """The whole records of a journal, oldest first; a torn last line is left out."""
    data = path.read_bytes()
    try:
        return [_shaped(_parsed(line)) for line in data[: _sound_length(data)].split(b"\n") if line]
    except ValueError as error:
        raise EnvironmentProblem(f"The journal {path} is damaged: {error}.") from error


@contextlib.contextmanager
def understood() -> Iterator[None]:
    """Around what makes sense of records. Where there is none they are damaged, by no mistake of Ostro's."""
    try:
        yield
    except (LookupError, TypeError, ValueError) as error:
        problem = f"{type(error).__name__}: {error}".split("\n")[0]
        raise EnvironmentProblem(
            f"The journal of this session is damaged ({problem}); start a new one."
        ) from error


def _parsed(line: bytes) -> Record:
    """Raises ValueError where a line is no whole record."""
    try:
        record = json.loads(line)
    except RecursionError:
        raise ValueError("a line is nested too deep") from None
    if not isinstance(record, dict):
        raise ValueError("a line is no record")
    return record


def _shaped(record: Record) -> Record:
    """Raises ValueError where a record lacks what all of its kind have."""
    kind = record.get("kind")
    if not isinstance(kind, str):
        raise ValueError("a record has no kind")
    for field, type_ in _HOLDS.get(kind, {}).items():
        if not isinstance(record.get(field), type_):
            raise ValueError(f"a record of kind {kind!r} has no {field}")
    return record


def _sound_length(data: bytes) -> int:
    """Bytes up to the end of the last line that is a whole record."""
    end = data.rfind(b"\n") + 1
    while end:
        start = data.rfind(b"\n", 0, end - 1) + 1
        with contextlib.suppress(ValueError):
            _parsed(data[start:end])
            return end
        end = start
    return 0


def _plain(value: Any) -> Any:
    return value.model_dump(mode="json") if isinstance(value, BaseModel) else value


def _stream(event: dict[str, Any]) -> tuple[str, str]:
    return event["type"], event.get("id", "")


def _masked(value: Any, *as_it_is: Collection[str]) -> Any:
    """The same with every text masked, but for the fields `as_it_is`: of the outermost, of the next ..."""
    match value:
        case str():
            return masked(value)
        case list() | tuple():
            return [_masked(part) for part in value]
        case dict():
            kept = as_it_is[0] if as_it_is else ()
            return {
                key if key in kept else masked(key): part if key in kept else _masked(part, *as_it_is[1:])
                for key, part in value.items()
            }
    return value


def _without_spelling(record: dict[str, Any], before: dict[str, Any]) -> dict[str, Any]:
    """A message in which something was masked, without its token ids: they spell what it was.

    A resumed session then shows the model the masked text, tokenised anew.
    """
    message, said = record["message"], ("content", "thinking", "tool_calls")
    if message["token_ids"] and any(message[key] != before["message"][key] for key in said):
        message["token_ids"] = None
    return record


def _private_folder(folder: Path) -> None:
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    folder.chmod(0o700)


def _open(path: Path, flags: int) -> int:
    return os.open(path, flags | os.O_RDWR | os.O_APPEND | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)


@contextlib.contextmanager
def repository_lock(repo: Path, session: str) -> Iterator[None]:
    """Holds the repository for one session of this user; the kernel lets go when the process dies.

    A session of a repository around it would see and undo its files: one that runs there keeps this one out,
    and none starts meanwhile. Raises EnvironmentProblem, naming the session and process that hold it.
    """
    repo = repo.resolve()
    holder = f"session {session}, process {os.getpid()}"
    with contextlib.ExitStack() as held:
        for outer in repo.parents:
            if os.path.lexists(outer / ".git"):
                held.enter_context(_locked(outer, f"{holder}, in {repo}", fcntl.LOCK_SH))
        held.enter_context(_locked(repo, holder, fcntl.LOCK_EX))
        yield


@contextlib.contextmanager
def _locked(repo: Path, holder: str, how: int) -> Iterator[None]:
    folder = state_folder() / "locks"
    try:
        _private_folder(folder)
        name = hashlib.sha256(os.fsencode(repo)).hexdigest()[:32]
        fd = os.open(folder / name, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
    except OSError as error:
        raise EnvironmentProblem(f"The lock folder {folder} cannot be used ({error.strerror}).") from error
    try:
        try:
            fcntl.flock(fd, how | fcntl.LOCK_NB)
        except BlockingIOError:
            other = os.pread(fd, 5000, 0).decode(errors="replace").strip() or "another session"
            raise EnvironmentProblem(
                f"Ostro already works in {repo} ({other}); wait for it or end it first."
            ) from None
        os.ftruncate(fd, 0)
        os.pwrite(fd, os.fsencode(holder), 0)
        yield
    finally:
        os.close(fd)
