"""How what git would act on is put aside: renamed, and never over what was put aside before, which may be all
that the user has of it. A link or a pipe goes, because a line says all there is of it."""

from __future__ import annotations

import os
import stat
from collections.abc import Sequence
from pathlib import Path

ASIDE = ".ostro-aside"
_MOVE = """
end=$1
shift
for i in "$@"; do
    if [ -L "$i" ] || [ -p "$i" ]; then rm -f -- "$i"; continue; fi
    to=$i$end n=1
    while [ -e "$to" ] || [ -L "$to" ]; do n=$((n + 1)) to=$i$end-$n; done
    mv -nT -- "$i" "$to" && printf '%s\\0' "$to"
done
"""


def putting_aside(paths: Sequence[str]) -> list[str]:
    """The command that does it, in their folder; it prints the new names, with a NUL behind each."""
    return ["/bin/sh", "-c", _MOVE, "sh", ASIDE, *paths]


def said_of(printed: bytes, removed: dict[str, str]) -> str:
    """Lines that say what was done; `removed` are paths that went, and what they were."""
    said = ""
    if gone := [f"{path} {what}" for path, what in removed.items() if what]:
        said += f"\n[removed, because git would follow it: {', '.join(gone)}]\n"
    # A later one of the same name is named in full, with its number.
    if names := [os.fsdecode(name).removesuffix(ASIDE) for name in printed.split(b"\0")[:-1]]:
        said += f"\n[renamed to *{ASIDE}, because git would act on it: {', '.join(names)}]\n"
    return said


def of_no_content(path: Path) -> str:
    """Where a symbolic link leads, or that it is a named pipe; "" for anything else."""
    try:
        return "(a named pipe)" if stat.S_ISFIFO(path.lstat().st_mode) else f"-> {os.readlink(path)}"
    except OSError:
        return ""
