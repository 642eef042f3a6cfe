"""Whole outputs of a session, kept by a short id, and the cut that a model sees of them."""

from __future__ import annotations

import contextlib
from collections import OrderedDict
from collections.abc import Callable
from pathlib import Path
from typing import Literal

Keep = Literal["head", "tail", "both"]

_TOTAL_CHARACTERS = 32_000_000


class NotKept(Exception):
    """An output cannot be written; `str(error)` is one sentence for the user."""


class OutputStore:
    """Keeps the whole of what was cut, so that the `output` tool can show any part of it again.

    Bounded: the oldest outputs go once all together pass `limit` characters. With a `folder` the outputs
    are also files there (mode 0600), and a store opened on it later knows them: a resumed session can
    re-read what it was shown before.
    """

    def __init__(
        self,
        folder: Path | None = None,
        *,
        limit: int = _TOTAL_CHARACTERS,
        written: Callable[[str], str] = lambda text: text,
    ) -> None:
        """`written` gives what the files are to hold of a text."""
        self._texts: OrderedDict[str, str] = OrderedDict()
        self._limit = limit
        self._written = written
        self._size = 0
        self._last = 0
        self._folder = folder
        if folder is None:
            return
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        known = (path.stem[1:] for path in folder.glob("o*.txt"))
        for number in sorted(int(digits) for digits in known if digits.isdecimal()):
            self._last = number
            self._hold(f"o{number}", (folder / f"o{number}.txt").read_bytes().decode("utf-8", "replace"))

    def keep(self, text: str) -> str:
        """Keeps `text` and answers its id. Raises NotKept."""
        self._last += 1
        output_id = f"o{self._last}"
        if self._folder is not None:
            _write(self._folder / f"{output_id}.txt", self._written(text))
        self._hold(output_id, text)
        return output_id

    def get(self, output_id: str) -> str | None:
        """The whole text; None where the id is unknown or its output was dropped."""
        return self._texts.get(output_id)

    def ids(self) -> list[str]:
        """The ids that can be read, oldest first."""
        return list(self._texts)

    def cut(self, text: str, budget: int, keep: Keep = "head") -> str:
        """`text` in at most about `budget` characters (the marker line comes on top).

        Cuts between lines; only a line longer than the budget is cut inside. What was left out is named
        by a marker line, with the id under which the `output` tool shows it.
        """
        if len(text) <= budget:
            return text
        lines = text.removesuffix("\n").split("\n")
        head = _head(lines, {"head": budget, "both": budget // 3, "tail": 0}[keep])
        rest = lines[len(head) :]
        tail = _head(rest[::-1], {"head": 0, "both": budget - budget // 3, "tail": budget}[keep])[::-1]
        if not head and not tail:
            return self._cut_inside(text, budget, keep)
        gone = rest[: len(rest) - len(tail)]
        first = len(head) + 1
        marker = (
            f"[… lines {first}-{first + len(gone) - 1} of {len(lines)} left out "
            f"({sum(len(line) + 1 for line in gone):,} characters); "
            f"output id={self.keep(text)} shows them]"
        )
        return "\n".join([*head, marker, *tail])

    def _cut_inside(self, text: str, budget: int, keep: Keep) -> str:
        marker = f"[… {len(text) - budget:,} characters left out; output id={self.keep(text)} shows them]"
        if keep == "head":
            return f"{text[:budget]}\n{marker}"
        if keep == "tail":
            return f"{marker}\n{text[len(text) - budget :]}"
        third = budget // 3
        return f"{text[:third]}\n{marker}\n{text[len(text) - (budget - third) :]}"

    def _hold(self, output_id: str, text: str) -> None:
        self._texts[output_id] = text
        self._size += len(text)
        while self._size > self._limit and len(self._texts) > 1:
            oldest, dropped = self._texts.popitem(last=False)
            self._size -= len(dropped)
            if self._folder is not None:
                (self._folder / f"{oldest}.txt").unlink(missing_ok=True)


def _write(path: Path, text: str) -> None:
    try:
        path.touch(mode=0o600)
        path.write_bytes(text.encode("utf-8", "replace"))
    except OSError as error:
        with contextlib.suppress(OSError):  # half an output would be taken for the whole one later
            path.unlink(missing_ok=True)
        raise NotKept(
            f"An output cannot be kept in {path.parent} ({error.strerror}); make room, or set XDG_STATE_HOME "
            "to a folder on another disk."
        ) from error


def _head(lines: list[str], budget: int) -> list[str]:
    """As many of the first lines as fit into `budget` characters."""
    for count, line in enumerate(lines):
        budget -= len(line) + 1
        if budget < 0:
            return lines[:count]
    return lines
