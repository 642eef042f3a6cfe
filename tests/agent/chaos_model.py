"""The model of a chaos run: the file it is loaded from lists its calls, and the prompt says which is next.

At each request it takes a picture of the repository, for then no call runs: the files are what the latest
checkpoint has. Loaded in an engine process of its own, which is started as the real one is. As a program: one
headless run with it. Arguments: model file, then a repository, or `--resume` and a session.
"""

from __future__ import annotations

import json
import pickle
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from agent.journal import read
from agent.options import RunOptions
from engine import launch
from engine.families.calls import CALL_CLOSE, CALL_OPEN
from engine.locations import Meeting
from engine.request import Sampling
from tests.agent.chaos_calamities import journals
from tests.chaos import Picture, picture
from tests.engine.scripted_runtime import END, ScriptedRuntime, Step, Stopped, _joined
from tui.headless import run_headless

ANSWERED = "\n<tool_response>\n"
ROOT = Path(__file__).parents[2]
BOOT = (
    "import sys; sys.path.insert(0, sys.argv.pop(1)); from engine.host import main; "
    "from tests.agent.chaos_model import load; main(load=load)"
)
TOKENS_AT_ONCE = 20
"""Between two short sleeps: an answer takes a moment, so that it can be cut off in its middle."""


class CallByCall(ScriptedRuntime):
    context = 1 << 20

    def __init__(self, told: dict[str, Any]) -> None:
        super().__init__()
        self._calls = told["calls"]
        self._repo, self._state, self._pictures = (Path(told[name]) for name in ("repo", "state", "pictures"))

    def generate(
        self,
        prompt: list[int],
        *,
        max_tokens: int,
        sampling: Sampling,
        stop_ids: frozenset[int],
        cancelled: Callable[[], bool],
        on_prefill: Callable[[int, int], None] | None = None,
        lane: str = "",
    ) -> Iterator[Step]:
        self._take_picture()
        done = self.tokenizer.decode(prompt).count(ANSWERED)
        text = "All done."
        if done < len(self._calls):
            text = f"{CALL_OPEN}\n{json.dumps(self._calls[done])}\n{CALL_CLOSE}"
        ids = self.tokenizer.encode(text)
        for name in (CALL_OPEN, CALL_CLOSE):
            ids = _joined(ids, name.encode(), self.tokenizer.special[name])
        for number, token_id in enumerate([*ids, END][:max_tokens]):
            if cancelled():
                raise Stopped
            if number % TOKENS_AT_ONCE == 0:
                time.sleep(0.002)
            yield Step(token_id)

    def _take_picture(self) -> None:
        trees = [record["tree"] for record in read(journals(self._state)[0]) if record["kind"] == "tree"]
        with (self._pictures / f"{time.time_ns()}").open("wb") as file:
            pickle.dump((trees[-1], looks(self._repo)), file)


def looks(repo: Path) -> Picture:
    """All of the tree, less what is ignored and so in no checkpoint."""
    found = picture(repo).items()
    return {path: entry for path, entry in found if path.split(b"/")[0] not in (b"out", b"user.ignored")}


def load(
    path: Path, threads: int, progress: Callable[[float], None], memory: int | None = None
) -> CallByCall:
    return CallByCall(json.loads(path.read_text()))


def host_command(model: Path, place: Meeting, keep_alive: float) -> list[str]:
    options = [str(model), str(place.socket), "--keep-alive", str(keep_alive)]
    return [sys.executable, "-I", "-c", BOOT, str(ROOT), *options]


def main(model: str, *where: str) -> int:
    launch.host_command = host_command
    if where[0] == "--resume":
        options = RunOptions(kind="run", resume=where[1], model=model)
    else:
        options = RunOptions(kind="run", repo=Path(where[0]), task="Do it.", model=model)
    return run_headless(options, as_json=True)


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
