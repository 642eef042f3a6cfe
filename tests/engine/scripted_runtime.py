"""A model that does as it is told in the last user turn, for tests of the process and its protocol.

Tokens are bytes. `say TEXT` answers TEXT (`\\n` means a newline), `count N` N numbers at two milliseconds a
token, `read N` takes N milliseconds of prefill, `made` tells how many tokens the last answer had, `fail`
raises, `crash` kills the process. What the model file holds decides how it loads: see `load`.
"""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from engine.errors import BadModelFile
from engine.families.calls import CALL_CLOSE, CALL_OPEN
from engine.request import Sampling
from engine.vision.album import Picture

SPECIAL = ("<|im_start|>", "<|im_end|>", "<|endoftext|>", CALL_OPEN, CALL_CLOSE)
END = 257


@dataclass(frozen=True)
class Step:
    token_id: int
    logprob: float = -0.5
    entropy: float = 0.25


class ByteTokenizer:
    """Bytes 0 to 255, then the special tokens."""

    special = {name: 256 + n for n, name in enumerate(SPECIAL)}  # noqa: RUF012  # never changed

    def encode(self, text: str) -> list[int]:
        return list(text.encode())

    def encode_with_ends(self, text: str) -> tuple[list[int], list[tuple[int, int]]]:
        return self.encode(text), [(n, n + 1) for n in range(len(text))]

    def token_bytes(self, token_id: int) -> bytes:
        return SPECIAL[token_id - 256].encode() if token_id > 255 else bytes([token_id])

    def decode(self, ids: list[int] | tuple[int, ...]) -> str:
        return b"".join(self.token_bytes(token_id) for token_id in ids).decode("utf-8", "replace")

    def stream(self) -> ByteStream:
        return ByteStream(self)


class ByteStream:
    def __init__(self, tokenizer: ByteTokenizer):
        self._tokenizer = tokenizer

    def push(self, token_id: int) -> str:
        return self._tokenizer.decode([token_id])

    def end(self) -> str:
        return ""


class Stopped(Exception):
    """The one who asked has gone away."""


class ScriptedRuntime:
    name = "scripted"
    context = 4096
    prefill_speed = 1000.0

    def __init__(self, architecture: str = "qwen2"):
        self.architecture = architecture
        self.tokenizer = ByteTokenizer()
        self.last_cached = 0
        self.prompts: list[list[int]] = []
        self.lanes: list[str] = []
        self.image_grid = None
        self._made = 0

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
        self.prompts.append(prompt)
        self.lanes.append(lane)
        text = self.tokenizer.decode(prompt)
        order = text.rpartition("<|im_start|>user\n")[2].partition("<|im_end|>")[0]
        verb, _, rest = order.partition("\n\n")[0].partition(" ")
        pause = 0.002 if verb == "count" else 0.0
        if verb == "crash":
            os.kill(os.getpid(), signal.SIGKILL)
        if verb == "fail":
            raise ValueError("as told")
        self._read(int(rest) if verb == "read" else 0, len(prompt), cancelled, on_prefill)
        answer = {
            "say": rest.replace("\\n", "\n"),
            "count": " ".join(str(n) for n in range(int(rest))) if verb == "count" else "",
            "made": str(self._made),
        }.get(verb, "")
        ids = self.tokenizer.encode(answer)
        for name in (CALL_OPEN, CALL_CLOSE):
            ids = _joined(ids, name.encode(), self.tokenizer.special[name])
        self._made = 0
        for token_id in [*ids, END][:max_tokens]:
            if cancelled():
                raise Stopped
            time.sleep(pause)
            self._made += 1
            yield Step(token_id)

    def _read(
        self,
        milliseconds: int,
        tokens: int,
        cancelled: Callable[[], bool],
        on_prefill: Callable[[int, int], None] | None,
    ) -> None:
        for n in range(milliseconds):
            if cancelled():
                raise Stopped
            time.sleep(0.001)
            if on_prefill:
                on_prefill(n, milliseconds)
        if on_prefill:
            on_prefill(tokens, tokens)

    def score(
        self, prefix: list[int], text: list[int], top: int, cancelled: Callable[[], bool] = lambda: False
    ) -> list[tuple[float, list[tuple[int, float]]]]:
        """Every byte is somewhat unlikely; the next letters of the alphabet would have been better."""
        return [(-1.0, [(token_id + n, -0.1 * n) for n in range(1, top + 1)]) for token_id in text]

    def branch(
        self,
        prefix: list[int],
        text: list[int],
        starts: Sequence[tuple[int, int]],
        *,
        stop: Callable[[list[int]], bool],
        max_tokens: int,
        cancelled: Callable[[], bool] = lambda: False,
    ) -> list[tuple[list[int], float, bool]]:
        """Goes on with the very text after the start."""
        branches = []
        for index, token_id in starts:
            taken = [token_id]
            for following in text[index + 1 :]:
                if stop(taken) or len(taken) == max_tokens:
                    break
                taken.append(following)
            branches.append((taken, -0.5 * len(taken), stop(taken)))
        return branches

    def see(self, pictures: Mapping[int, Picture]) -> None:
        raise AssertionError("this model has no image grid")

    def cached_prefix(self, ids: list[int]) -> int:
        return min(7, len(ids))


def _joined(ids: list[int], mark: bytes, token_id: int) -> list[int]:
    """The ids with each spelling of a special token replaced by the token."""
    joined: list[int] = []
    at = 0
    while at < len(ids):
        if ids[at : at + len(mark)] == list(mark):
            joined.append(token_id)
            at += len(mark)
        else:
            joined.append(ids[at])
            at += 1
    return joined


def load(
    path: Path, threads: int, progress: Callable[[float], None], memory: int | None = None
) -> ScriptedRuntime:
    """`slow` takes a while; `bad`, `fail`, `memory` and `crash` go wrong; `arch X` names the architecture;
    `seeing` is a Mistral that looks at images; `budget` has a token of context for each MiB of memory."""
    verb, _, rest = path.read_text().partition(" ")
    if verb == "slow":
        for n in range(10):
            progress(n / 10)
            time.sleep(0.05)
    if verb == "bad":
        raise BadModelFile(f"{path} is truncated; fetch it again.")
    if verb == "fail":
        raise ValueError("as told")
    if verb == "memory":
        raise MemoryError
    if verb == "crash":
        os.kill(os.getpid(), signal.SIGKILL)
    if verb == "seeing":
        from tests.engine.seeing_runtime import SeeingRuntime

        return SeeingRuntime()
    if verb == "budget" and memory is not None:
        budgeted = ScriptedRuntime()
        budgeted.context = memory >> 20
        return budgeted
    return ScriptedRuntime(rest if verb == "arch" else "qwen2")


if __name__ == "__main__":
    from engine.host import main

    main(load=load)
