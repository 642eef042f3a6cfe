"""The checkpoints of a session in their order, where it stands among them, and what a redo brings back.

It also knows which of them a turn left that did not come to its end, whatever way leads there, after a resume
too: `--commit` commits none of those.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Literal

from agent.ending import WrongUsage
from agent.journal import Record

CUT_OFF = "It was cut off."
"""Of a turn that has begun, until it is known how it ended."""


@dataclass(frozen=True)
class Point:
    """A recorded state of the files; `step` is its number among the checkpoints, from 0."""

    step: int
    tree: str
    label: str
    before: int | None = None
    """The step that it came after: not the number below it where something had been undone."""


@dataclass(frozen=True)
class Move:
    """A way from one recorded state to another, by undo or redo."""

    kind: Literal["undo", "redo"]
    to: Point
    saved: str
    """The tree that was there before, the user's own edits in it."""
    back: int
    """The step at which the session stood."""


@dataclass
class Timeline:
    """What the records `tree`, `undo`, `redo`, `restored`, `turn` and `turn_end` of a journal come to."""

    points: list[Point] = field(default_factory=list)
    at: Point | None = None
    """The last recorded state of the files."""
    undone: list[Point] = field(default_factory=list)
    """What a redo brings back, the next last."""
    overwritten: list[tuple[str, Point]] = field(default_factory=list)
    """What a redo went over that is no checkpoint, the user's edits in it, behind the tree that it led to."""
    pending: Move | None = None
    """A move that was begun and not finished: files may be in either state."""
    cancels: bool = False
    """Whether the pending move takes an unfinished redo back."""
    untold: list[Move] = field(default_factory=list)
    """What the model has not been told of."""
    unfinished: str = ""
    """Why the turn that left the files as they are did not come to its end; "" where it did."""
    half_done: dict[str, str] = field(default_factory=dict)
    """Trees that such a turn has left, with the reason."""
    turn_began: int = 0
    """How many checkpoints there were then."""

    @classmethod
    def read(cls, records: Iterable[Record]) -> Timeline:
        timeline = cls()
        for record in records:
            match record["kind"]:
                case "tree":
                    timeline.add(record["tree"], record["label"])
                case "undo" | "redo":
                    to = Point(record["step"], record["tree"], record["label"])
                    timeline.begin(Move(record["kind"], to, record["saved"], record["back"]))
                case "restored":
                    timeline.finish()
                case "turn":
                    timeline.begin_turn()
                case "turn_end":
                    timeline.end_turn(record["unfinished"])
                case "message" if record["message"]["role"] == "user":
                    timeline.untold.clear()
        return timeline

    def add(self, tree: str, label: str) -> Point:
        """A new checkpoint; nothing can be redone any more.

        What an unfinished move has overwritten, the user's edits in it, would be in no checkpoint then: it
        becomes the one before.
        """
        move, self.pending = self.pending, None
        if move and self.at and move.saved not in (tree, self.at.tree):
            self._add(move.saved, f"before an unfinished {move.kind}")
        self.undone.clear()
        self.overwritten.clear()
        return self._add(tree, label)

    def _add(self, tree: str, label: str) -> Point:
        self._mark(tree)
        self.at = Point(len(self.points), tree, label, self.at.step if self.at else None)
        self.points.append(self.at)
        return self.at

    def begin_turn(self) -> None:
        self.unfinished, self.turn_began = CUT_OFF, len(self.points)

    def end_turn(self, unfinished: str) -> None:
        self.unfinished = unfinished
        its_own = {point.tree for point in self.points[self.turn_began :]}
        if unfinished:
            self.half_done.update(dict.fromkeys(its_own & self.half_done.keys(), unfinished))
            return
        for tree in its_own | ({self.at.tree} if self.at else set()):
            self.half_done.pop(tree, None)

    def _mark(self, tree: str) -> None:
        """Of an unfinished turn, unless an earlier checkpoint has the same files."""
        if self.unfinished and all(tree != point.tree for point in self.points):
            self.half_done[tree] = self.unfinished

    def begin(self, move: Move) -> None:
        """From here on files may be in either state."""
        if self.pending is None:
            self._mark(move.saved)
        earlier, self.pending = self.pending, move
        self.cancels = earlier is not None and (earlier.kind, move.kind) == ("redo", "undo")
        if earlier and (earlier.kind, move.kind) == ("undo", "redo"):
            self._keep(earlier)  # which the redo takes back

    def finish(self) -> None:
        move = self.pending
        if move is None:
            return
        self.pending = None
        if move.kind == "redo":
            del self.undone[-1:]
            if move.saved != self.points[move.back].tree:
                self.overwritten.append((move.to.tree, self._saved_by(move)))
        elif not self.cancels:
            self._keep(move)
        if self.overwritten and self.overwritten[-1][1].tree == move.to.tree:
            self.overwritten.pop()
        self.at, self.unfinished = move.to, self.half_done.get(move.to.tree, "")
        self.untold.append(move)

    def _keep(self, move: Move) -> None:
        self.undone.append(self._saved_by(move))

    def _saved_by(self, move: Move) -> Point:
        return Point(move.back, move.saved, self.points[move.back].label)

    def undo_target(self, step: int | None) -> Point:
        """Where an undo leads: to `step`, else to the other side of a move that is not finished.

        Else to what the redo that led here went over, else one checkpoint back. Raises WrongUsage.
        """
        if self.at is None:
            raise WrongUsage("This session recorded no checkpoint, so there is nothing to undo.")
        if step is not None:
            if not 0 <= step < len(self.points):
                last = len(self.points) - 1
                raise WrongUsage(f"There is no step {step}; the checkpoints of this session are 0 to {last}.")
            return self.points[step]
        if self.pending:
            return self.pending.to if self.pending.kind == "undo" else self._saved_by(self.pending)
        before = self.points[self.at.step].before
        if self.overwritten and (before is None or self.overwritten[-1][0] == self.at.tree):
            return self.overwritten[-1][1]
        if len(self.points) == 1:
            raise WrongUsage(
                "This session changed no file, so there is nothing to undo. "
                "`ostro sessions list` names earlier ones, for `ostro undo SESSION`."
            )
        if before is None:
            raise WrongUsage(
                "Nothing is left to undo: the files are as they were when the session started. "
                "`ostro sessions list` names earlier ones, for `ostro undo SESSION`."
            )
        return self.points[before]

    def redo_target(self) -> Point:
        """Raises WrongUsage where nothing was undone since the last change."""
        if self.pending and self.pending.kind == "undo":
            return self._saved_by(self.pending)
        if not self.undone:
            raise WrongUsage("There is nothing to redo: nothing was undone since the last checkpoint.")
        return self.undone[-1]
