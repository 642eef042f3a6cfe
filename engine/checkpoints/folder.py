"""Opening the files of a model's folder: regular ones, inside it, no bigger than they should be."""

from __future__ import annotations

import json
import os
import stat
from pathlib import Path
from typing import Any

from engine.errors import BadModelFile, ModelNotFound

JSON_LIMIT = 128 << 20
"""An index that names every matrix of every expert takes some ten megabytes."""


def open_inside(folder: Path, name: str) -> int:
    """A descriptor, for reading, of the regular file `name` in `folder`.

    A link may lead to another file of the folder, or to the blobs of the hub's cache that the folder is a
    snapshot of; one that leads elsewhere is refused.
    """
    if not name or name in (".", "..") or "/" in name or "\\" in name or "\0" in name:
        raise BadModelFile(
            f"{folder} names the file {name!r}, which is not one of its own; fetch the model again."
        )
    path = folder / name
    try:
        target = Path(os.path.realpath(path))
        if not _may_hold(folder, target):
            raise BadModelFile(f"{path} is a link that leads out of its folder; put the file itself there.")
        # Non-blocking, because opening a named pipe would wait for its writer.
        descriptor = os.open(target, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    except FileNotFoundError:
        raise BadModelFile(f"{path} is missing; fetch the model again.") from None
    except OSError as error:
        raise BadModelFile(f"{path} cannot be read ({error.strerror}).") from None
    if not stat.S_ISREG(os.fstat(descriptor).st_mode):
        os.close(descriptor)
        raise BadModelFile(f"{path} is not a regular file; fetch the model again.")
    return descriptor


def _may_hold(folder: Path, target: Path) -> bool:
    real = Path(os.path.realpath(folder))
    if target.parent == real:
        return True
    return real.parent.name == "snapshots" and target.parent == real.parent.parent / "blobs"


def has_file(folder: Path, name: str) -> bool:
    """Whether the folder lists such a name, wherever it leads."""
    return os.path.lexists(folder / name)


def list_files(folder: Path) -> list[str]:
    """The names in the folder, sorted. Raises ModelNotFound."""
    try:
        return sorted(os.listdir(folder))
    except FileNotFoundError:
        raise ModelNotFound(f"There is no model at {folder}.") from None
    except OSError as error:
        raise ModelNotFound(f"{folder} cannot be listed ({error.strerror}).") from None


def read_json(folder: Path, name: str) -> dict[str, Any]:
    """The object in a JSON file of the folder."""
    descriptor = open_inside(folder, name)
    with open(descriptor, "rb") as file:
        if os.fstat(descriptor).st_size > JSON_LIMIT:
            raise BadModelFile(
                f"{folder / name} is far too large for what it should be; fetch the model again."
            )
        return parse_object(file.read(JSON_LIMIT + 1), f"{folder / name}")


def parse_object(raw: bytes, what: str) -> dict[str, Any]:
    """A JSON object in which no key is said twice and no number is infinite or NaN."""
    try:
        value = json.loads(raw, object_pairs_hook=_unique, parse_constant=_no_constant)
    except _Twice as error:
        raise BadModelFile(f"{what} says {error.args[0]!r} twice; fetch the model again.") from None
    except (ValueError, RecursionError, MemoryError):
        raise BadModelFile(f"{what} is not valid JSON; fetch the model again.") from None
    if not isinstance(value, dict):
        raise BadModelFile(f"{what} is not a JSON object; fetch the model again.")
    return value


class _Twice(Exception):
    pass


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    seen: dict[str, Any] = {}
    for key, value in pairs:
        if key in seen:
            raise _Twice(key[:100])
        seen[key] = value
    return seen


def _no_constant(name: str) -> Any:
    raise ValueError(name)
