"""Images that come with a task: their files are read and kept here, and decoded by the engine process alone.

A copy lies beside the journal under its hash, so that an engine which died, or let an image go, can be shown
it again, and a resumed session goes on whatever has become of the file.
"""

from __future__ import annotations

import hashlib
import os
import stat
from pathlib import Path
from typing import TYPE_CHECKING

from agent.ending import EnvironmentProblem, WrongUsage
from agent.events import Warn
from engine.errors import BadImage, EngineDied
from engine.request import MAX_IMAGE_BYTES
from sandbox import FileProblem

if TYPE_CHECKING:
    from agent.session import Session

_MOST_LINKS = 40
"""Links on the way to one file; the kernel follows no more."""


class Pictures:
    """Those of one session."""

    def __init__(self, session: Session, paths: tuple[Path, ...]) -> None:
        """`paths` are absolute; their images belong to the next turn of the user's."""
        self._session = session
        self._folder = session.journal.path.parent / "images"
        self._waiting: list[tuple[Path, bytes]] = []
        self._paths = paths

    async def read(self) -> None:
        """Reads the files, before anything else is done. WrongUsage names the one that cannot be used."""
        for path in self._paths:
            self._waiting.append((path, await self._content(path)))

    async def look(self) -> None:
        """Opens the engine where images wait. EnvironmentProblem: its model sees none."""
        if not self._waiting:
            return
        can = (await self._session.open_engine()).capabilities
        if not can.images:
            self._waiting.clear()  # a session goes on without them
            raise EnvironmentProblem(
                f"{can.model} cannot see images; leave --image out, or name a model that can with --model."
            )

    async def take(self) -> tuple[str, ...]:
        """The hashes of the images that wait, for the turn they belong to; the engine has seen them.

        Where that fails they wait for the next turn, but for what can never be shown. WrongUsage: one is no
        image that can be read. EnvironmentProblem: the model sees none.
        """
        await self.look()
        try:
            taken = await self._show()
        except EngineDied as error:
            self._session.emit(Warn(text=f"{error} It is started again."))
            await self._session.reopen_engine()
            taken = await self._show()
        self._waiting.clear()
        return taken

    async def _show(self) -> tuple[str, ...]:
        taken = []
        for path, data in list(self._waiting):
            try:
                shown = await self._session.engine.show(data)
            except BadImage as problem:
                self._waiting.remove((path, data))
                raise WrongUsage(f"{path}: {problem}") from problem
            self._keep(shown.sha256, data)
            taken.append(shown.sha256)
        return tuple(taken)

    async def show_again(self) -> None:
        """Shows the engine all images of the conversation."""
        names = [name for message in self._session.history for name in message.images]
        for name in dict.fromkeys(names):
            await self._session.engine.show(self._kept(name))

    async def _content(self, path: Path) -> bytes:
        inside = _inside(self._session.workspace.root, path)
        try:
            data = _read(path) if inside is None else await self._session.workspace.read(inside)
        except FileProblem as problem:
            raise WrongUsage(f"The image cannot be read: {problem}") from problem
        except OSError as problem:
            raise WrongUsage(f"The image {path} cannot be read ({problem.strerror}).") from problem
        if len(data) > MAX_IMAGE_BYTES:
            raise WrongUsage(
                f"The image {path} has more than the {MAX_IMAGE_BYTES:,} bytes that one may have; scale it."
            )
        return data

    def _keep(self, name: str, data: bytes) -> None:
        try:
            self._folder.mkdir(mode=0o700, exist_ok=True)
            fd = os.open(self._folder / name, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_NOFOLLOW, 0o600)
            with open(fd, "wb") as file:
                file.write(data)
        except OSError as error:
            raise EnvironmentProblem(
                f"The image cannot be kept in {self._folder} ({error.strerror})."
            ) from error

    def _kept(self, name: str) -> bytes:
        try:
            data = (self._folder / name).read_bytes()
        except OSError:
            data = b""
        if hashlib.sha256(data).hexdigest() != name:
            raise EnvironmentProblem("An image of this session is not kept any more; start a new one.")
        return data


def _inside(root: Path, path: Path) -> str | None:
    """The path relative to the workspace, where it names something in there, by itself or through links of
    the user's: the sandbox reads that, as it does all of the repository, for links in there may lead out."""
    real = Path(os.path.realpath(path))
    path = Path(os.path.normpath(path))
    for _ in range(_MOST_LINKS):
        if path.is_relative_to(root):
            return str(path.relative_to(root))
        link = next((each for each in (*reversed(path.parents), path) if each.is_symlink()), None)
        if link is None:
            break
        path = Path(os.path.normpath(link.parent / os.readlink(link) / path.relative_to(link)))
    return str(real.relative_to(root)) if real.is_relative_to(root) else None


def _read(path: Path) -> bytes:
    """A file of the user's, no more than an image may have and a byte. OSError: it is no file."""
    fd = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    with open(fd, "rb") as file:
        if not stat.S_ISREG(os.fstat(fd).st_mode):
            raise OSError(0, "it is no file")
        return file.read(MAX_IMAGE_BYTES + 1)
