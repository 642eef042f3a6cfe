"""One request on standard input, one answer on standard output: a line of JSON, then bytes.

    {"op": "record", "session": ..., "like": [ids]}          {"id": ..., "notes": [sentences]}
    {"op": "restore", ..., "id": ..., "paths": [...],        {"id": of what was, "notes", "changed": [paths]}
     "expects": id or null}                                  or, nothing written: {"overtaken": [paths]}
                                                             or, "partly": true, others written before
    {"op": "changed", "a": id, "b": id, "exact": bool}       {"changed": [paths]}
    {"op": "patch", "a": id, "b": id}                        {}, then the patch

What went wrong for a reason is told as {"refused": sentence}.
"""

from __future__ import annotations

import codecs
import errno
import gc
import json
import os
import sys
import time
from typing import Any

from .index import Index
from .restore import GITS_OWN, Blocked, Overtaken, Restore, is_wanted
from .rules import GitFailed, Rules
from .snapshot import Snapshot, all_changes, file_changes
from .store import Missing, Store
from .trees import FOLDER
from .walk import DEEPEST, Unsteady, Walk

KEPT_DAYS = 30
"""A snapshot that nobody recorded or restored for so long is dropped."""
_DAY = 86_400
_LONG = 200
"""Characters of a path that is named."""


class Recorder:
    def __init__(self, place: dict[str, Any]) -> None:
        """`place`: root, store, index (a folder), git_dir, git_index, own_excludes, excludes (lists of
        ignored names for the whole tree, the later the stronger), git, plain, binary."""
        self._place = place
        self._store = Store(place["store"])
        self._roots = os.path.join(place["store"], "roots")
        os.makedirs(self._roots, exist_ok=True)

    def answer(self, request: dict[str, Any]) -> tuple[dict[str, Any], bytes]:
        match request["op"]:
            case "record":
                id, notes, _ = self._record(request)
                return {"id": id.hex(), "notes": notes}, b""
            case "restore":
                return self._restore(request), b""
            case "changed":
                a, b = self._snapshot(request["a"]), self._snapshot(request["b"])
                return {"changed": _changed(a, b, exact=request["exact"])}, b""
            case "patch":
                a, b = self._snapshot(request["a"]), self._snapshot(request["b"])
                from .patch import Patch  # what it needs takes a while to load

                dirs = self._place["plain"], self._place["binary"]
                return {}, Patch(self._store, self._place["git"], dirs, self._place["index"]).write(a, b)
        raise Blocked(f"There is no operation {request['op']!r}.")

    def close(self) -> None:
        self._store.close()

    def _record(self, request: dict[str, Any]) -> tuple[bytes, list[str], Index]:
        place = self._place
        path = os.path.join(place["index"], "files")
        old = Index.load(path, self._store)
        rules = self._rules()
        like = [self._snapshot(id) for id in request["like"] if self._store.has(bytes.fromhex(id))]
        lists = [place["own_excludes"], *place["excludes"]]
        walk = Walk(self._store, old, rules, place["root"], place["git_index"], lists, like)
        try:
            id = walk.record(request["session"])
        finally:
            rules.close()
        self._store.commit()
        self._use(id)
        notes = walk.losses.lost()
        index = walk.index
        index.watched = walk.losses.watched
        index.unreadable, index.too_deep = walk.unreadable, walk.too_deep
        notes += _not_recorded("it cannot be read", walk.unreadable, old.unreadable)
        deep = f"it lies too deep (more than {DEEPEST} folders, or a path too long for git)"
        notes += _not_recorded(deep, walk.too_deep, old.too_deep)
        index.save(path)
        self._tidy(id)
        return id, notes, index

    def _restore(self, request: dict[str, Any]) -> dict[str, Any]:
        target = self._snapshot(request["id"])
        # So that what is to be overwritten is recorded, though it be ignored by now.
        now, notes, index = self._record({**request, "like": [*request["like"], request["id"]]})
        if overtaken := self._overtaken(request, now, target):
            return {"overtaken": overtaken, "notes": notes}
        rules = self._rules()
        try:
            restore = Restore(self._store, self._place["root"], rules, Snapshot(self._store, now), target)
            changed = restore.run(index, request["paths"])
        except Overtaken as problem:
            return {"overtaken": [str(problem)], "partly": True, "notes": notes}
        finally:
            rules.close()
        self._use(bytes.fromhex(request["id"]))
        if any(path.rpartition("/")[2] == ".gitignore" for path in changed):
            # Other rules hold, so what was recorded in this session need not be recorded any more.
            index.session = ""
            index.save(os.path.join(self._place["index"], "files"))
        return {"id": now.hex(), "notes": notes, "changed": changed}

    def _overtaken(self, request: dict[str, Any], now: bytes, target: Snapshot) -> list[str]:
        """What is to be overwritten, and is not what whoever asks has seen."""
        if not request.get("expects"):
            return []
        here = Snapshot(self._store, now)
        seen = {change.path for change in all_changes(self._snapshot(request["expects"]), here)}
        if not seen:
            return []
        touched = {
            change.path for change in all_changes(here, target) if is_wanted(change.path, request["paths"])
        }
        return sorted(path for path in seen & touched if not path.endswith(GITS_OWN))

    def _rules(self) -> Rules:
        place = self._place
        # Git takes one list beside its own, which is Ostro's here.
        lists = os.path.join(place["index"], "excludes")
        with open(lists, "wb") as file:
            file.write(b"\n".join(map(_read, place["excludes"])))
        git = [*place["git"], "-c", f"core.excludesFile={lists}"]
        return Rules(git, place["root"], place["git_dir"], place["plain"])

    def _snapshot(self, id: str) -> Snapshot:
        return Snapshot(self._store, bytes.fromhex(id))

    def _use(self, id: bytes) -> None:
        """Notes that this snapshot is wanted, from now on for so many days."""
        path = os.path.join(self._roots, id.hex())
        try:
            os.utime(path)
        except FileNotFoundError:
            os.close(os.open(path, os.O_WRONLY | os.O_CREAT, 0o600))

    def _tidy(self, current: bytes) -> None:
        """Once a day drops old snapshots; merges the store's files where they are many."""
        stamp = os.path.join(self._place["store"], "tidied")
        now = time.time()
        try:
            due = os.stat(stamp).st_mtime < now - _DAY
        except FileNotFoundError:
            due = True
        try:
            if due:
                with os.scandir(self._roots) as roots:
                    used = {root.name: root.stat().st_mtime for root in roots}
                old = [name for name, last in used.items() if last < now - KEPT_DAYS * _DAY]
                kept = {bytes.fromhex(name) for name in used.keys() - set(old)}
                if old and not self._store.keep_only({*kept, current}):
                    return
                for name in old:
                    os.unlink(os.path.join(self._roots, name))
                with open(stamp, "w"):
                    os.utime(stamp)
            self._store.merge()
        except OSError as problem:
            # There may be no room to tidy up in; the snapshot itself is safe.
            if problem.errno not in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG):
                raise


def _read(path: str) -> bytes:
    """A list of ignored names; nothing where there is none, or no file."""
    try:
        fd = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    except OSError:
        return b""
    try:
        if not os.path.isfile(fd):
            return b""
        with os.fdopen(fd, "rb", closefd=False) as file:
            return file.read().removeprefix(codecs.BOM_UTF8)
    finally:
        os.close(fd)


def _not_recorded(why: str, paths: list[str], told: list[str]) -> list[str]:
    """A sentence about those of the paths that the user does not know of."""
    new = [path for path in paths if path not in told]
    if not new:
        return []
    named = [path if len(path) <= _LONG else f"{path[:_LONG]}..." for path in new[:5]]
    more = f" and {len(new) - 5} more" if len(new) > 5 else ""
    return [f"Not recorded, because {why}: {', '.join(named)}{more}."]


def _changed(a: Snapshot, b: Snapshot, *, exact: bool) -> list[str]:
    if exact:
        return [change.path for change in all_changes(a, b)]
    return sorted(
        change.path
        for change in file_changes(a, b)
        if any(entry and entry[0] != FOLDER for entry in (change.before, change.after))
    )


def main() -> None:
    # Nothing here has cycles worth collecting, and looking for them takes as long as the walk.
    gc.disable()
    sys.setrecursionlimit(20_000)
    told = json.loads(sys.stdin.buffer.read())
    recorder: Recorder | None = None
    data = b""
    try:
        recorder = Recorder(told["place"])
        answer, data = recorder.answer(told["request"])
    except (GitFailed, Blocked) as problem:
        answer = {"refused": str(problem)}
    except Missing as problem:
        answer = {"refused": f"The snapshot store does not hold {problem} (any more).", "missing": True}
    except Unsteady as problem:
        answer = {"refused": f"{problem} becomes shorter each time it is read; stop what writes it."}
    except OSError as problem:
        answer = {"refused": _explained(problem)}
    finally:
        if recorder is not None:
            recorder.close()
    sys.stdout.buffer.write(json.dumps(answer).encode("ascii") + b"\n" + data)
    sys.stdout.buffer.flush()


def _explained(problem: OSError) -> str:
    if problem.errno in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG):
        return "There is no room left for a checkpoint; free some space on the disk."
    where = f" ({os.fsdecode(problem.filename)})" if problem.filename else ""
    return f"The files could not be recorded or restored: {problem.strerror}{where}."


if __name__ == "__main__":
    main()
