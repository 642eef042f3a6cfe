"""Reads and writes the workspace's files from inside the sandbox. Standard library only.

Started as `python -I -S file_server.py ROOT` and spoken to over stdin and stdout: one JSON line,
then `size` bytes of content, both ways. Paths are relative; a link is followed only while it stays
below ROOT, one component at a time on open folders, so that nothing can be swapped in between.
"""

from __future__ import annotations

import errno
import json
import os
import stat
import sys

FOLDER = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
MOST_LINKS = 40
LARGEST = 64 << 20
"""Bytes of one file that are read into memory at once."""
MOST_ENTRIES = 50_000


class Refused(Exception):
    """One sentence for the caller."""


class Place:
    """An open folder and a name in it: where a path ends after its links were followed."""

    def __init__(self, folder: int, name: str) -> None:
        self.folder = folder
        self.name = name

    def status(self) -> os.stat_result:
        return os.stat(self.name or ".", dir_fd=self.folder, follow_symlinks=False)


class Tree:
    def __init__(self, root: str) -> None:
        self.root = root
        self.top = os.open(root, FOLDER)

    def find(self, path: str, *, follow: bool = True, create: bool = False) -> Place:
        """Walks to `path`. The caller closes `folder`. Missing folders are made where `create`."""
        rest = self._split(path)
        opened = [os.dup(self.top)]
        links = 0
        try:
            while rest:
                part = rest.pop(0)
                if part == "..":
                    if len(opened) == 1:
                        raise Refused(f"{path!r} leaves the workspace.")
                    os.close(opened.pop())
                    continue
                target = _link(opened[-1], part) if follow or rest else None
                if target is not None:
                    links += 1
                    if links > MOST_LINKS:
                        raise Refused(f"{path!r} goes through too many symbolic links.")
                    rest = self._through(path, target, opened) + rest
                    continue
                if not rest:
                    return Place(opened.pop(), part)
                opened.append(_enter(opened[-1], part, create))
            return Place(opened.pop(), "")
        finally:
            for fd in opened:
                os.close(fd)

    def _split(self, path: str) -> list[str]:
        if os.path.isabs(path):
            raise Refused(f"{path!r} is absolute; give a path relative to the workspace.")
        if "\0" in path:
            raise Refused("A path cannot hold a NUL character.")
        return [part for part in path.split("/") if part not in ("", ".")]

    def _through(self, path: str, target: str, opened: list[int]) -> list[str]:
        if os.path.isabs(target):
            if target != self.root and not target.startswith(self.root + "/"):
                raise Refused(f"{path!r} goes through a symbolic link that leaves the workspace ({target}).")
            while len(opened) > 1:
                os.close(opened.pop())
            target = target[len(self.root) + 1 :]
        return [part for part in target.split("/") if part not in ("", ".")]


def read(tree: Tree, path: str) -> tuple[dict, bytes]:
    place = tree.find(path)
    try:
        _require_file(path, place.status())
        # The kind is checked again on the open file; O_NONBLOCK, for a pipe swapped in would wait.
        flags = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
        with os.fdopen(os.open(place.name, flags, dir_fd=place.folder), "rb") as file:
            status = os.fstat(file.fileno())
            _require_file(path, status)
            if status.st_size > LARGEST:
                raise Refused(f"{path!r} has {status.st_size} bytes; at most {LARGEST} can be read.")
            data = file.read(LARGEST + 1)
    finally:
        os.close(place.folder)
    return {"mode": stat.S_IMODE(status.st_mode)}, data


def write(tree: Tree, path: str, data: bytes) -> dict:
    _require_not_git(tree, path)
    place = tree.find(path, create=True)
    try:
        if not place.name:
            raise Refused(f"{path!r} is a folder.")
        _require_not_git_folder(tree, place, path)
        mode = None
        try:
            status = place.status()
        except FileNotFoundError:
            pass
        else:
            _require_file(path, status)
            if status.st_nlink > 1:
                raise Refused(
                    f"{path!r} has other hard links, which may lie outside the workspace; copy it first."
                )
            # Replacing by rename would get around a file's own write protection.
            if not status.st_mode & 0o222:
                raise Refused(f"{path!r} is write-protected.")
            mode = stat.S_IMODE(status.st_mode)
        _replace(place, data, mode)
    finally:
        os.close(place.folder)
    return {"created": mode is None}


def _replace(place: Place, data: bytes, mode: int | None) -> None:
    name = f".ostro-{os.getpid()}-{os.urandom(6).hex()}"
    flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
    fd = os.open(name, flags, 0o666, dir_fd=place.folder)
    try:
        with os.fdopen(fd, "wb") as file:
            file.write(data)
            if mode is not None:
                os.fchmod(file.fileno(), mode)
        os.rename(name, place.name, src_dir_fd=place.folder, dst_dir_fd=place.folder)
    except BaseException:
        os.unlink(name, dir_fd=place.folder)
        raise


def remove(tree: Tree, path: str) -> dict:
    _require_not_git(tree, path)
    place = tree.find(path, follow=False)
    try:
        if not place.name:
            raise Refused("The workspace itself cannot be removed.")
        _require_not_git_folder(tree, place, path)
        status = place.status()
        if stat.S_ISDIR(status.st_mode):
            os.rmdir(place.name, dir_fd=place.folder)
        else:
            os.unlink(place.name, dir_fd=place.folder)
    finally:
        os.close(place.folder)
    return {}


def exists(tree: Tree, path: str) -> dict:
    try:
        place = tree.find(path)
    except (FileNotFoundError, NotADirectoryError):
        return {"exists": False}
    try:
        place.status()
    except FileNotFoundError:
        return {"exists": False}
    finally:
        os.close(place.folder)
    return {"exists": True}


def look(tree: Tree, paths: list[str]) -> dict:
    """Kind and size of each of `paths` that is there; links are not followed."""
    entries = []
    for path in paths:
        try:
            place = tree.find(path, follow=False)
        except (OSError, Refused):
            continue
        try:
            entries.append(_entry(path, place.status()))
        except OSError:
            pass
        finally:
            os.close(place.folder)
    return {"entries": entries}


def listing(tree: Tree, path: str, recursive: bool) -> dict:
    """What is in a folder, `.git` left out; a link to a folder is not entered."""
    place = tree.find(path)
    try:
        flags = FOLDER if place.name else FOLDER & ~os.O_NOFOLLOW
        top = os.open(place.name or ".", flags, dir_fd=place.folder)
    finally:
        os.close(place.folder)
    entries: list[list] = []
    prefix = "/".join(tree._split(path))
    try:
        _list(top, prefix, recursive, entries)
    finally:
        os.close(top)
    return {"entries": entries}


def _list(folder: int, prefix: str, recursive: bool, entries: list[list]) -> None:
    for name in sorted(os.listdir(folder)):
        if name == ".git":
            continue
        if len(entries) >= MOST_ENTRIES:
            raise Refused(f"There are more than {MOST_ENTRIES} files here; list a folder further down.")
        path = f"{prefix}/{name}" if prefix else name
        try:
            status = os.stat(name, dir_fd=folder, follow_symlinks=False)
            entries.append(_entry(path, status))
            if not recursive or not stat.S_ISDIR(status.st_mode):
                continue
            below = os.open(name, FOLDER, dir_fd=folder)
        except OSError:
            continue
        try:
            _list(below, path, recursive, entries)
        finally:
            os.close(below)


def newer(tree: Tree, since: int) -> dict:
    """Files and links that changed after `since` (nanoseconds), caches of Python left out."""
    found: list[str] = []
    for here, folders, files, folder in os.fwalk(tree.root, follow_symlinks=False):
        folders[:] = [name for name in folders if name not in (".git", "__pycache__")]
        for name in files:
            try:
                changed = os.stat(name, dir_fd=folder, follow_symlinks=False).st_ctime_ns
            except OSError:
                continue
            if changed > since and len(found) < MOST_ENTRIES:
                found.append(os.path.relpath(os.path.join(here, name), tree.root))
    return {"paths": found}


def _entry(path: str, status: os.stat_result) -> list:
    mode = status.st_mode
    if stat.S_ISREG(mode):
        return [path, "file", status.st_size]
    if stat.S_ISDIR(mode):
        return [path, "dir", 0]
    return [path, "link" if stat.S_ISLNK(mode) else "other", 0]


def _link(folder: int, name: str) -> str | None:
    try:
        return os.readlink(name, dir_fd=folder)
    except OSError as problem:
        if problem.errno in (errno.EINVAL, errno.ENOENT):
            return None
        raise


def _enter(folder: int, name: str, create: bool) -> int:
    try:
        return os.open(name, FOLDER, dir_fd=folder)
    except FileNotFoundError:
        if not create:
            raise
    os.mkdir(name, dir_fd=folder)
    return os.open(name, FOLDER, dir_fd=folder)


def _require_file(path: str, status: os.stat_result) -> None:
    if stat.S_ISDIR(status.st_mode):
        raise Refused(f"{path!r} is a folder.")
    if not stat.S_ISREG(status.st_mode):
        raise Refused(f"{path!r} is not a regular file.")


def _require_not_git(tree: Tree, path: str) -> None:
    if any(part.casefold() == ".git" for part in tree._split(path)):
        raise Refused(f"{path!r} is git's own; change it with git commands.")


def _require_not_git_folder(tree: Tree, place: Place, path: str) -> None:
    """The same for a path that came there through a link."""
    real = os.readlink(f"/proc/self/fd/{place.folder}")
    below = os.path.join(real, place.name)[len(tree.root) + 1 :]
    _require_not_git(tree, below)


def answer(tree: Tree, request: dict, data: bytes) -> tuple[dict, bytes]:
    operation, path = request["op"], request.get("path", "")
    try:
        match operation:
            case "read":
                return read(tree, path)
            case "write":
                return write(tree, path, data), b""
            case "remove":
                return remove(tree, path), b""
            case "exists":
                return exists(tree, path), b""
            case "look":
                return look(tree, request["paths"]), b""
            case "list":
                return listing(tree, path, request["recursive"]), b""
            case "newer":
                return newer(tree, request["since"]), b""
        return {"refused": f"There is no operation {operation!r}."}, b""
    except Refused as refusal:
        return {"refused": str(refusal)}, b""
    except FileNotFoundError:
        return {"refused": f"There is no {path!r} in the workspace."}, b""
    except OSError as problem:
        return {"refused": f"{path!r}: {problem.strerror}."}, b""


def serve(root: str) -> None:
    tree = Tree(root)
    source, sink = sys.stdin.buffer, sys.stdout.buffer
    while line := source.readline():
        request = json.loads(line)
        reply, data = answer(tree, request, source.read(request["size"]))
        sink.write(json.dumps({**reply, "size": len(data)}).encode("ascii") + b"\n" + data)
        sink.flush()


if __name__ == "__main__":
    serve(sys.argv[1])
