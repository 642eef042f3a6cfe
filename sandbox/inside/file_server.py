"""Reads and writes the workspace's files from inside the sandbox. Standard library only.

Started for one ROOT and spoken to over stdin and stdout: a request is one JSON line and `size` bytes of
content; an answer is a line of two sizes, JSON of the first, content of the second. Paths are relative.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import stat
import sys
from collections.abc import Iterator

from .tree import FOLDER, MOST_LEVELS, Place, Refused, Tree

LARGEST = 64 << 20
"""Bytes of one file that are read into memory at once."""
MOST_ENTRIES = 50_000
MOST_CHARACTERS = 8 << 20
"""Of all paths in one listing together."""
ABSENT = "absent"
"""What `version` is where there is no file."""
ACCESS_LIST = "system.posix_acl_access"


def read(tree: Tree, path: str) -> tuple[dict, bytes]:
    place = tree.find(path)
    try:
        return {}, _content(place, path)
    finally:
        os.close(place.folder)


def _content(place: Place, path: str) -> bytes:
    _require_file(path, place.status())
    # The kind is looked at again on the open file; O_NONBLOCK, for a pipe swapped in would wait.
    flags = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
    with os.fdopen(os.open(place.name, flags, dir_fd=place.folder), "rb") as file:
        status = os.fstat(file.fileno())
        _require_file(path, status)
        data = file.read(LARGEST + 1)
    if len(data) > LARGEST:
        size = max(status.st_size, len(data))
        raise Refused(f"{path!r} has {size} bytes; at most {LARGEST} can be read.")
    return data


def write(tree: Tree, path: str, data: bytes, expects: str | None) -> dict:
    """Replaces a file in one step or creates it.

    `expects` is the version that the caller has seen; where there is another by now, nothing is written.
    """
    place = tree.find(path, create=True, change=True)
    try:
        if not place.name:
            raise Refused(f"{path!r} is a folder.")
        try:
            before = place.status()
        except FileNotFoundError:
            before = None
        else:
            _require_replaceable(place, path, before)
        _replace(place, path, data, before, expects)
    finally:
        os.close(place.folder)
    return {"created": before is None}


def _require_replaceable(place: Place, path: str, status: os.stat_result) -> None:
    _require_file(path, status)
    if status.st_nlink > 1:
        raise Refused(f"{path!r} has other hard links, which may lie outside the workspace; copy it first.")
    # Replacing by rename would get around a file's own write protection.
    if not status.st_mode & 0o222 or not os.access(place.name, os.W_OK, dir_fd=place.folder):
        raise Refused(f"{path!r} is write-protected.")


def _replace(
    place: Place, path: str, data: bytes, before: os.stat_result | None, expects: str | None
) -> None:
    name = f".ostro-{os.getpid()}-{os.urandom(6).hex()}"
    # A file that others may not read is at no moment one that they may.
    mode = 0o666 if before is None else 0o600
    fd = _without_a_name(place.folder, mode)
    named = fd is None
    if fd is None:
        flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
        fd = os.open(name, flags, mode, dir_fd=place.folder)
    try:
        with os.fdopen(fd, "wb") as file:
            file.write(data)
            file.flush()
            if before is not None:
                _take_over(place, path, before, file.fileno())
            # Else a crash soon after the rename could leave an empty file in place of the old one.
            os.fsync(file.fileno())
            if expects is not None and _version(place, path) != expects:
                raise Refused(f"{path!r} has changed since it was read; read it again.")
            if not named:
                os.link(f"/proc/self/fd/{file.fileno()}", name, dst_dir_fd=place.folder)
                named = True
        os.rename(name, place.name, src_dir_fd=place.folder, dst_dir_fd=place.folder)
    except BaseException:
        if named:
            with contextlib.suppress(OSError):
                os.unlink(name, dir_fd=place.folder)
        raise


def _without_a_name(folder: int, mode: int) -> int | None:
    """A new file in the folder, which is gone if this is killed; None where the file system has none such."""
    try:
        return os.open(".", os.O_TMPFILE | os.O_WRONLY | os.O_CLOEXEC, mode, dir_fd=folder)
    except OSError:
        return None


def _take_over(place: Place, path: str, old: os.stat_result, new: int) -> None:
    """Owner, mode and access list of the old file for the new one.

    Never set-user-id and set-group-id: as where a program writes into such a file, new content loses them.
    """
    made = os.fstat(new)
    if made.st_uid != old.st_uid:
        try:
            os.fchown(new, old.st_uid, -1)
        except OSError:
            raise Refused(
                f"{path!r} belongs to another user, and replacing it would make it yours; "
                "a command can write into it."
            ) from None
    if made.st_gid != old.st_gid:
        with contextlib.suppress(OSError):  # a group that one is not in cannot be given
            os.fchown(new, -1, old.st_gid)
    os.fchmod(new, stat.S_IMODE(old.st_mode) & 0o777)
    # The mode's middle digit is the list's upper bound: without its list the file would be wider open.
    listed = _access_list(f"/proc/self/fd/{place.folder}/{place.name}")
    if listed != _access_list(new):
        try:
            os.setxattr(new, ACCESS_LIST, listed) if listed else os.removexattr(new, ACCESS_LIST)
        except OSError:
            raise Refused(
                f"{path!r} has an access control list that cannot be kept; a command can write into it."
            ) from None


def _access_list(file: str | int) -> bytes:
    try:
        return os.getxattr(file, ACCESS_LIST)
    except OSError:
        return b""


def _version(place: Place, path: str) -> str:
    try:
        return hashlib.sha256(_content(place, path)).hexdigest()
    except FileNotFoundError:
        return ABSENT


def remove(tree: Tree, path: str) -> dict:
    place = tree.find(path, follow=False, change=True)
    try:
        if not place.name:
            raise Refused("The workspace itself cannot be removed.")
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
    """What is in a folder, `.git` left out; a link to a folder is not entered, nor what lies too deep."""
    place = tree.find(path)
    try:
        flags = FOLDER if place.name else FOLDER & ~os.O_NOFOLLOW
        top = os.open(place.name or ".", flags, dir_fd=place.folder)
    finally:
        os.close(place.folder)
    entries: list[list] = []
    left = MOST_CHARACTERS
    try:
        for name, status in _below(top, os.path.normpath(path) + "/", {".git"}, recursive):
            left -= len(name)
            if len(entries) >= MOST_ENTRIES or left < 0:
                raise Refused(f"There are more than {MOST_ENTRIES} files here; list a folder further down.")
            entries.append(_entry(name, status))
    finally:
        os.close(top)
    return {"entries": entries}


def _below(
    folder: int, prefix: str, skipped: set[str], recursive: bool, level: int = 0
) -> Iterator[tuple[str, os.stat_result]]:
    """Path and status of all that is in an open folder, sorted, parents first; what vanishes is left out."""
    for name in sorted(os.listdir(folder)):
        if name in skipped:
            continue
        path = (prefix + name).removeprefix("./")
        try:
            status = os.stat(name, dir_fd=folder, follow_symlinks=False)
        except OSError:
            continue
        yield path, status
        if not recursive or level == MOST_LEVELS or not stat.S_ISDIR(status.st_mode):
            continue
        try:
            below = os.open(name, FOLDER, dir_fd=folder)
        except OSError:
            continue
        try:
            yield from _below(below, path + "/", skipped, recursive, level + 1)
        finally:
            os.close(below)


def newer(tree: Tree, since: int) -> dict:
    """Files and links that changed after `since` (nanoseconds), caches of Python left out."""
    found: list[str] = []
    left = MOST_CHARACTERS
    for path, status in _below(tree.top, "", {".git", "__pycache__"}, True):
        if stat.S_ISDIR(status.st_mode) or status.st_ctime_ns <= since:
            continue
        left -= len(path)
        if len(found) >= MOST_ENTRIES or left < 0:
            break
        found.append(path)
    return {"paths": found}


def _entry(path: str, status: os.stat_result) -> list:
    mode = status.st_mode
    if stat.S_ISREG(mode):
        return [path, "file", status.st_size]
    if stat.S_ISDIR(mode):
        return [path, "dir", 0]
    return [path, "link" if stat.S_ISLNK(mode) else "other", 0]


def _require_file(path: str, status: os.stat_result) -> None:
    if stat.S_ISDIR(status.st_mode):
        raise Refused(f"{path!r} is a folder.")
    if not stat.S_ISREG(status.st_mode):
        raise Refused(f"{path!r} is not a regular file.")


def answer(tree: Tree, request: dict, data: bytes) -> tuple[dict, bytes]:
    operation, path = request["op"], request.get("path", "")
    try:
        match operation:
            case "read":
                return read(tree, path)
            case "write":
                return write(tree, path, data, request.get("expects")), b""
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


def main() -> None:
    tree = Tree(sys.argv[1])
    source, sink = sys.stdin.buffer, sys.stdout.buffer
    while line := source.readline():
        request = json.loads(line)
        reply, data = answer(tree, request, source.read(request["size"]))
        told = json.dumps(reply).encode("ascii")
        sink.write(b"%d %d\n" % (len(told), len(data)) + told + data)
        sink.flush()
