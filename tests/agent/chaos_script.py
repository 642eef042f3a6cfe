"""The script of a chaos run: calls drawn from a seed, and what each of them does to the files."""

from __future__ import annotations

import random
import stat
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any

Entry = tuple[int, bytes]
"""Mode and content; of a link, its target."""
Tree = dict[str, Entry]
Change = Callable[[Entry | None], Entry | None]
"""What was at a path, and what is there afterwards; None for nothing."""
PLAIN, PROGRAM, LINK = stat.S_IFREG, stat.S_IFREG | 0o100, stat.S_IFLNK
BIG_BYTES = 300_000


@dataclass(frozen=True)
class Step:
    """A call's effect on one path."""

    path: str
    change: Change
    torn: bool = False
    """Whether the file is empty for a moment: a shell's redirection, never a tool of ours."""


@dataclass(frozen=True)
class Call:
    name: str
    arguments: dict[str, Any]
    steps: tuple[Step, ...] = ()
    exit_code: int | None = None
    """Of a shell command that ran to its end."""


def script(draw: random.Random) -> list[Call]:
    """Six to ten calls; the first makes the file that others edit."""
    made = [_write("notes.py", "A = 0\nB = 0\n")]
    for number in range(draw.randint(5, 9)):
        made.append(draw.choice(KINDS)(number))
    return made


def possible(start: Tree, ran: Iterable[tuple[Call, bool]]) -> dict[str, set[Entry | None]]:
    """What may be at each path that the calls name.

    A call that surely ran has every effect exactly once; of any other, each effect may be there once, half
    of it, or not at all.
    """
    found: dict[str, set[Entry | None]] = {}
    for call, surely in ran:
        for step in call.steps:
            before = found.get(step.path, {start.get(step.path)})
            after = {step.change(entry) for entry in before}
            if not surely:
                after |= before
                after |= {_holding(b"")(entry) for entry in before if step.torn}
            found[step.path] = after
    return found


def _holding(content: bytes) -> Change:
    return lambda was: (was[0] if was else PLAIN, content)


def _with_more(content: bytes) -> Change:
    return lambda was: (was[0], was[1] + content) if was else (PLAIN, content)


def _replaced(old: bytes, new: bytes) -> Change:
    return lambda was: (was[0], was[1].replace(old, new)) if was and was[1].count(old) == 1 else was


def _write(path: str, content: str) -> Call:
    return Call("write", {"path": path, "content": content}, (Step(path, _holding(content.encode())),))


def _edit(old: str, new: str) -> Call:
    change = _replaced(old.encode(), new.encode())
    return Call("edit", {"path": "notes.py", "old": old, "new": new}, (Step("notes.py", change),))


def _shell(command: str, *steps: Step, exit_code: int = 0) -> Call:
    return Call("shell", {"command": command}, steps, exit_code)


def _count(n: int) -> Call:
    """Done twice, it shows."""
    return _shell(
        f"echo {n} >> tracked.txt && printf '\\0\\377{n}' > bytes.bin",
        Step("tracked.txt", _with_more(b"%d\n" % n)),
        Step("bytes.bin", _holding(b"\0\xff%d" % n), torn=True),
    )


def _gone(n: int) -> Call:
    return _shell(f"rm -f untracked.txt; : {n}; exit 3", Step("untracked.txt", lambda was: None), exit_code=3)


def _link(n: int) -> Call:
    return _shell(
        f"mkdir -p d{n} && ln -sf ../tracked.txt d{n}/link && chmod +x notes.py",
        Step(f"d{n}/link", lambda was: (LINK, b"../tracked.txt")),
        Step("notes.py", lambda was: was and (PROGRAM, was[1])),
    )


def _slow(n: int) -> Call:
    return _shell(
        f"for i in 1 2 3; do echo $i >> p{n} || exit; sleep 0.1; done; setsid sleep 9 &",
        *(Step(f"p{n}", _with_more(b"%d\n" % i)) for i in (1, 2, 3)),
    )


def _big(n: int) -> Call:
    """Of bytes that no store makes smaller; under a name that is ignored until it is whole."""
    code = f"import random; open('out/big', 'wb').write(random.Random({n}).randbytes({BIG_BYTES}))"
    return _shell(
        f'python3 -I -c "{code}" && mv out/big big-{n}.bin && no-such-program',
        Step(f"big-{n}.bin", _holding(random.Random(n).randbytes(BIG_BYTES))),
        exit_code=127,
    )


KINDS: tuple[Callable[[int], Call], ...] = (
    lambda n: _write(f"new/{n}.txt", f"text {n}\n" * 200),
    lambda n: _edit("A = 0\n", f"A = 0\nC{n} = {n}\n"),
    lambda n: _edit(f"not there {n}", "never"),
    # Never quite the same: what is asked for three times in a row is refused.
    lambda n: Call("read", {"path": "tracked.txt", "end": 100 + n}),
    _count,
    _count,
    _link,
    _gone,
    _slow,
    _big,
)  # fmt: skip
