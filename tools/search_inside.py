"""Searches files for a pattern where there is no ripgrep. Runs inside the sandbox; stdlib only.

Reads one JSON object from stdin: `pattern`, `paths`, `per_file`, `total`, `longest`. Prints lines of
`path NUL number : text` for the matches, as ripgrep does with --null; exits 0 where there was a match,
1 where there was none, 2 with a sentence on an invalid pattern.
"""

from __future__ import annotations

import json
import os
import re
import sys

LARGEST = 64 << 20
"""Bytes of one file that are looked through."""


def lines_of(path: str) -> list[str]:
    """The file's lines; none for what cannot be read or is not text."""
    try:
        # What was a file in the list may be a pipe or a link by now, and a pipe would wait for a writer.
        with open(path, "rb", opener=lambda p, f: os.open(p, f | os.O_NOFOLLOW | os.O_NONBLOCK)) as file:
            data = file.read(LARGEST)
    except OSError:
        return []
    return [] if b"\0" in data[:8192] else data.decode("utf-8", "replace").split("\n")


def main() -> int:
    asked = json.load(sys.stdin)
    try:
        pattern = re.compile(asked["pattern"], re.IGNORECASE if asked["ignore_case"] else 0)
    except re.error as error:
        print(f"{error}", end="")
        return 2
    left = asked["total"]
    for path in asked["paths"]:
        in_file = min(asked["per_file"], left)
        for number, line in enumerate(lines_of(path), 1):
            if in_file == 0:
                break
            line = line.rstrip("\r")
            if pattern.search(line):
                print(f"{path}\0{number}:{line[: asked['longest']]}")
                in_file -= 1
                left -= 1
        if left == 0:
            break
    return 0 if left < asked["total"] else 1


if __name__ == "__main__":
    sys.stdout.reconfigure(encoding="utf-8", errors="replace")  # type: ignore[union-attr]
    sys.exit(main())
