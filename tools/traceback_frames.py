"""Reads the frames of tracebacks, as pytest, unittest and Python itself print them."""

from __future__ import annotations

import posixpath
import re
from dataclasses import dataclass

from tools.report import Frame

_NATIVE = re.compile(r'^(?:E  )?[\s|]*File "(?P<file>[^"]+)", line (?P<line>\d+)(?:, in (?P<function>.+))?$')
_SHORT = re.compile(r"^(?P<file>[^\s:][^:]*):(?P<line>\d+): in (?P<function>.+)$")
_LONG = re.compile(r"^(?P<file>[^\s:][^:]*\.\w+):(?P<line>\d+):(?: .*)?$")
_DEF = re.compile(r"^(?:>? +)(?:async +)?def +(?P<name>\w+)")
_SEPARATOR = re.compile(r"^(?:_ )+_?\s*$")
_FOREIGN = {"site-packages", "dist-packages", ".venv", "venv", ".tox", ".nox", "node_modules"}
_STANDARD_LIBRARY = re.compile(r"(^|/)lib(64)?/(python|pypy)\d")


@dataclass(frozen=True)
class Where:
    """What relative paths in an output are relative to."""

    root: str = ""
    """Absolute path of the repository, as the command saw it; "" where it is not known."""
    cwd: str = "."
    """Where the command ran, relative to the root."""

    def inside(self, path: str) -> str | None:
        """`path` relative to the root; None for what is not the repository's own."""
        if path.startswith("<"):
            return None
        path = path.replace("\\", "/")
        if posixpath.isabs(path):
            if not self.root or not path.startswith(self.root.rstrip("/") + "/"):
                return None
            path = posixpath.relpath(path, self.root)
        else:
            path = posixpath.normpath(posixpath.join(self.cwd, path))
        foreign = path.startswith("..") or _FOREIGN.intersection(path.split("/"))
        return None if foreign or _STANDARD_LIBRARY.search(path) else path


def frames(lines: list[str], where: Where) -> list[Frame]:
    """The frames in these lines that lie in the repository, as printed (outermost first)."""
    found: list[Frame] = []
    function = ""
    for line in lines:
        if _SEPARATOR.match(line):
            function = ""
            continue
        if not function and (definition := _DEF.match(line)):
            function = definition["name"]
            continue
        hit = _NATIVE.match(line) or _SHORT.match(line) or _LONG.match(line)
        if hit is None:
            continue
        named = hit.groupdict().get("function")
        name = (named or function or ("<module>" if hit.re is _NATIVE else "")).strip()
        function = ""
        file = where.inside(hit["file"])
        if file is None:
            continue
        frame = Frame(file=file, line=int(hit["line"]), function=name)
        if not found or found[-1] != frame:
            found.append(frame)
    return found


def native_error(lines: list[str]) -> str:
    """The exception that a traceback printed by Python ends with; "" where there is none.

    Of chained tracebacks the last one counts: that is the exception that got out.
    """
    starts = [number for number, line in enumerate(lines) if _NATIVE.match(line)]
    if not starts:
        return ""
    for number in range(starts[-1] + 1, len(lines)):
        line = lines[number]
        if line.strip() and not line.lstrip("|").startswith(" "):
            return "\n".join(_paragraph(lines[number:]))
    return ""


def _paragraph(lines: list[str]) -> list[str]:
    """Up to the first blank line, or to a rule of dashes or the like."""
    for number, line in enumerate(lines):
        if not line.strip() or re.match(r"^([=\-_*])\1{9,}", line):
            return lines[:number]
    return lines
