"""Golden files: what a face prints, with times, ids and places replaced by constants.

`OSTRO_WRITE_GOLDEN=1 python -m pytest tests/tui` writes them anew; look at the difference before committing.
"""

from __future__ import annotations

import json
import os
import re
from pathlib import Path
from typing import Any

GOLDEN = Path(__file__).with_name("golden")
MEASURED = {
    "t": 0,
    "seconds": 0,
    "prompt": 0,
    "session": "ID",
    "repo": "REPO",
    "version": "VERSION",
    "tree": "TREE",
}


def check(name: str, text: str) -> None:
    path = GOLDEN / name
    if os.environ.get("OSTRO_WRITE_GOLDEN"):
        path.write_text(text, encoding="utf-8")
    assert text == path.read_text(encoding="utf-8")


def normal_json(output: str) -> str:
    """The JSON lines with everything that differs from run to run made constant.

    `progress`, which a slow machine alone has, is left out.
    """
    events = [json.loads(line) for line in output.splitlines()]
    kept = [event for event in events if event["type"] != "progress"]
    return "".join(json.dumps(_constant(event), ensure_ascii=False) + "\n" for event in kept)


def normal_text(output: str, repo: Path) -> str:
    output = output.replace(str(repo), "REPO")
    output = re.sub(r"^  … \w+, \d+ s.*\n", "", output, flags=re.MULTILINE)
    output = re.sub(r"^ostro \S+ · REPO", "ostro VERSION · REPO", output)
    output = re.sub(r"^sandbox: .+(\n  not enforced: .+)*", "sandbox: X", output, count=1, flags=re.MULTILINE)
    output = re.sub(r"session \d{8}-\d{6}-[0-9a-f]{9}", "session ID", output)
    return re.sub(r"\d+\.\d+ s\b", "0.0 s", output)


def _constant(value: Any, key: str = "") -> Any:
    if key in MEASURED:
        return MEASURED[key]
    if key == "sandbox":
        return {name: _some(value[name]) for name in ("mechanism", "tier", "enforced", "not_enforced")}
    if isinstance(value, dict):
        return {name: _constant(inner, name) for name, inner in value.items()}
    if isinstance(value, list):
        return [_constant(inner) for inner in value]
    return value


def _some(value: str | list[str]) -> str | list[str]:
    """What this machine's sandbox is; only that something is said is the same everywhere."""
    assert value
    return "X" if isinstance(value, str) else ["X"]
