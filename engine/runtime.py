"""One loaded model and what can be asked of it: generate, score, branch. Not thread safe."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, cast

import torch

from engine.errors import ContextOverflow, UnsupportedModel
from engine.gguf_file import GgufFile
from engine.machine_memory import budget_of
from engine.memory_plan import CHUNK, divide
from engine.model import CACHE_BUDGET
from engine.network import Opened, SeeingNetwork, SequenceCache
from engine.prefix_cache import PrefixCache
from engine.qwen2_model import Qwen2Model
from engine.qwen2_needs import qwen2_needs
from engine.request import Sampling
from engine.sampling import Sampled, Sampler
from engine.tokenizer import Tokenizer

if TYPE_CHECKING:
    from engine.vision.album import Picture

PREFILL_CHUNK = CHUNK
SCORED_AT_ONCE = 64
"""Positions whose distributions over the vocabulary exist together."""
QWEN2 = "qwen2"


OpenHosted = Callable[[Path, Callable[[float], None] | None], Opened]
"""Path, and what is told the share that is loaded (0 to 1), if anyone is. Raises engine.errors."""


class Cancelled(Exception):
    """The one who asked has gone away; the cache holds what was done until then."""


class Runtime:
    def __init__(self, path: Path, opened: Opened, cache_budget: int | None = None):
        """`cache_budget` is in bytes; what `opened` says, or else CACHE_BUDGET, where none is given."""
        self.path = path
        self.name, self.architecture = opened.name, opened.architecture
        self.tokenizer = opened.tokenizer
        self._model = opened.network
        told = opened.cache_budget if cache_budget is None else cache_budget
        self._budget = CACHE_BUDGET if told is None else told
        self._chunk = opened.prefill_chunk
        self.context = min(self._model.context, self._model.new_cache().tokens_in(self._budget))
        """Tokens; what the file says, or what the memory for keys and values holds."""
        self.prefill_speed: float | None = None
        """Tokens per second of the last long prefill; None until there was one."""
        self.last_cached = 0
        """Of the last prompt, the tokens whose keys and values were already held."""
        self.image_grid = opened.image_grid
        self.forget()

    @classmethod
    def load(
        cls,
        path: Path,
        *,
        threads: int | None = None,
        progress: Callable[[float], None] | None = None,
        open_hosted: OpenHosted | None = None,
        cache_budget: int | None = None,
        memory: int | None = None,
    ) -> Runtime:
        """Read a model; `progress` is told the share read, 0 to 1. Raises engine.errors.

        `memory` bounds what a qwen2 file takes, in bytes; its cache then gets what the weights leave.
        A GGUF file of the architecture qwen2 runs in this engine's own network. Everything else is given to
        `open_hosted`, which is where transformers comes in (seconds, and a quarter of a gigabyte).
        """
        threads = threads or torch.get_num_threads()
        torch.set_num_threads(threads)
        if path.is_dir():
            return cls(path, _hosted(path, "a folder", open_hosted, progress), cache_budget)
        file = GgufFile(path)
        if file.architecture != QWEN2:
            what = f"of architecture {file.architecture!r}"
            file.release()
            return cls(path, _hosted(path, what, open_hosted, progress), cache_budget)
        needs, tokens = qwen2_needs(file), None
        if memory is not None and cache_budget is None:
            tokens = needs.context_in(divide(budget_of(memory), needs).cache)
        torch.set_num_threads(1)  # layers are read side by side, each by one thread
        network = Qwen2Model(file, progress, threads)
        torch.set_num_threads(threads)
        file.release()
        name: str = file.metadata.get("general.name", path.stem)
        if tokens is not None:
            cache_budget = network.new_cache().bytes_of(tokens)
        return cls(path, Opened(network, Tokenizer(file), name, QWEN2), cache_budget)

    def see(self, pictures: Mapping[int, Picture]) -> None:
        """The images of the next prompts. Raises UnsupportedModel where the model sees none."""
        if self.image_grid is None:
            raise UnsupportedModel(f"{self.name} cannot see images; ask a model that can.")
        cast(SeeingNetwork, self._model).see(pictures)

    def cached_prefix(self, ids: list[int]) -> int:
        """How many leading tokens of a prompt would not have to be prefilled."""
        return self._cache.longest(ids, keep=max(len(ids) - 1, 0))

    def forget(self) -> None:
        """Drop every kept prefix."""
        self._cache = PrefixCache(self._model.new_cache, self._budget)

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
    ) -> Iterator[Sampled]:
        """Yield the tokens of an answer as they are drawn, the stop token included.

        Raises Cancelled within one token of `cancelled()` turning true, ContextOverflow where the
        prompt leaves no room for an answer.
        """
        if len(prompt) + 1 > self.context:
            raise ContextOverflow(
                f"The prompt has {len(prompt):,} tokens; this model's context holds {self.context:,}."
            )
        limit = min(max_tokens, self.context - len(prompt))
        self.last_cached = self.cached_prefix(prompt)
        cache = self._cache.take(prompt, keep=len(prompt) - 1, lane=lane)
        hidden = self._prefill(prompt, cache, cancelled, on_prefill, last=1)
        sampler = Sampler(sampling)
        generated: list[int] = []
        while len(generated) < limit:
            sampled = sampler(self._model.logits(hidden[-1:])[0])
            generated.append(sampled.token_id)
            yield sampled
            if sampled.token_id in stop_ids:
                return
            if len(generated) < limit:
                hidden = self._prefill([*prompt, *generated], cache, cancelled, None, last=1)

    def score(
        self, prefix: list[int], text: list[int], top: int, cancelled: Callable[[], bool] = lambda: False
    ) -> list[tuple[float, list[tuple[int, float]]]]:
        """For each token of `text`: its log-probability, and the `top` likeliest others with theirs."""
        self._fits(prefix, text)
        prompt = [*(prefix or [self._beginning()]), *text]
        before = len(prompt) - len(text)
        cache = self._cache.take(prompt, keep=before - 1)
        hidden = self._prefill(prompt, cache, cancelled, None, last=len(text) + 1)[:-1]
        scored = []
        for start in range(0, len(text), SCORED_AT_ONCE):
            logits = self._model.logits(hidden[start : start + SCORED_AT_ONCE])
            stood = torch.tensor(text[start : start + SCORED_AT_ONCE])[:, None]
            normaliser = logits.logsumexp(dim=-1, keepdim=True)
            of_stood = (logits.gather(1, stood) - normaliser)[:, 0].tolist()
            others = (logits.scatter(1, stood, float("-inf")) - normaliser).topk(top)
            for logprob, ids, logprobs in zip(
                of_stood, others.indices.tolist(), others.values.tolist(), strict=True
            ):
                scored.append((logprob, list(zip(ids, logprobs, strict=True))))
        return scored

    @torch.inference_mode()
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
        """Greedy continuations of `prefix + text[:index] + [token_id]` for each start, as one batch.

        Returns for each: its tokens from the forced one on, the sum of their log-probabilities, and
        whether `stop` (or the end of the text) ended it rather than the budget.
        """
        self._fits(prefix, text)
        prompt = [*(prefix or [self._beginning()]), *text]
        before = len(prompt) - len(text)
        cache = self._cache.take(prompt)
        if len(cache) < len(prompt):
            self._prefill(prompt, cache, cancelled, None, last=0)
        taken = [[token_id] for _, token_id in starts]

        def check() -> None:
            self._check(cancelled)

        totals, stopped = self._first_logprobs(cache, before, starts, check), [False] * len(starts)
        model = self._model
        branches = model.branches(cache, [before + index for index, _ in starts], max_tokens, check)
        alive = list(range(len(starts)))
        for _ in range(max_tokens - 1):
            check()
            going = [row for row, n in enumerate(alive) if not self._ended(taken[n], stop)]
            if len(going) < len(alive):
                branches.keep(going)
                alive = [alive[row] for row in going]
            if not alive:
                break
            hidden = branches.step([taken[n][-1] for n in alive])
            logprobs = torch.log_softmax(model.logits(hidden), dim=-1)
            best = logprobs.max(dim=-1)
            for n, logprob, token_id in zip(alive, best.values.tolist(), best.indices.tolist(), strict=True):
                totals[n] += logprob
                taken[n].append(token_id)
        for n, ids in enumerate(taken):
            stopped[n] = self._ended(ids, stop)
        return list(zip(taken, totals, stopped, strict=True))

    def _first_logprobs(
        self,
        cache: SequenceCache,
        before: int,
        starts: Sequence[tuple[int, int]],
        check: Callable[[], None],
    ) -> list[float]:
        """Log-probability of each forced token at its place: one pass over the tokens before them."""
        model = self._model
        lengths = [before + index - 1 for index, _ in starts]
        branches = model.branches(cache, lengths, 1, check)
        logits = model.logits(branches.step([cache.ids[length] for length in lengths]))
        logprobs = torch.log_softmax(logits, dim=-1)
        return [float(logprobs[row, token_id]) for row, (_, token_id) in enumerate(starts)]

    def _ended(self, ids: list[int], stop: Callable[[list[int]], bool]) -> bool:
        return ids[-1] in self.tokenizer.end_ids or stop(ids)

    def _prefill(
        self,
        prompt: list[int],
        cache: SequenceCache,
        cancelled: Callable[[], bool],
        on_prefill: Callable[[int, int], None] | None,
        *,
        last: int,
    ) -> torch.Tensor:
        """Feed what the cache lacks of the prompt; returns the hidden states of its `last` tokens, or of
        all that was fed where that is fewer."""
        first = len(cache)
        total = len(prompt) - first
        cache.reserve(len(prompt))  # at once: buffers that grow leave holes in memory
        began, hidden = time.perf_counter(), []
        for start, end in self._chunks(cache, first, len(prompt)):
            states = self._model.prefill(prompt[start:end], cache, lambda: self._check(cancelled))
            if end > len(prompt) - last:
                hidden.append(states[max(len(prompt) - last - start, 0) :])
            if end == len(prompt) - 1:
                cache.snapshot()
            if on_prefill:
                on_prefill(len(cache) - first, total)
        self._cache.touch(cache)
        if total >= PREFILL_CHUNK:
            self.prefill_speed = total / (time.perf_counter() - began)
        return torch.cat(hidden) if hidden else torch.empty(0)

    def _chunks(self, cache: SequenceCache, first: int, end: int) -> list[tuple[int, int]]:
        """What is fed together. The same prompt again needs all of its tokens but the last, so that is where
        a sequence which cannot be cut back stops for a snapshot."""
        stop = end if cache.cuttable or end - first < 2 else end - 1
        starts = [*range(first, stop, self._chunk or PREFILL_CHUNK), *range(stop, end)]
        return list(zip(starts, [*starts[1:], end], strict=True))

    def _fits(self, prefix: list[int], text: list[int]) -> None:
        length = len(prefix) + len(text)
        if length >= self.context:
            raise ContextOverflow(
                f"The text has {length:,} tokens; this model's context holds {self.context:,}."
            )

    def _beginning(self) -> int:
        """The token a sequence without a prefix starts with."""
        return min(self.tokenizer.end_ids)

    def _check(self, cancelled: Callable[[], bool]) -> None:
        if cancelled():
            raise Cancelled


def _hosted(
    path: Path, what: str, open_hosted: OpenHosted | None, progress: Callable[[float], None] | None
) -> Opened:
    if open_hosted is None:
        raise UnsupportedModel(f"{path} is {what}; this engine runs GGUF files of architecture {QWEN2!r}.")
    return open_hosted(path, progress)
