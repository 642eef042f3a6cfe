"""One loaded model and what can be asked of it: generate, score, branch. Not thread safe."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import torch

from engine.errors import ContextOverflow, UnsupportedModel
from engine.gguf_file import GgufFile
from engine.kv_cache import KVCache
from engine.prefix_cache import PrefixCache
from engine.qwen2_model import BranchTails, Qwen2Model
from engine.request import Sampling
from engine.sampling import Sampled, Sampler
from engine.tokenizer import Tokenizer

if TYPE_CHECKING:
    from engine.vision.album import Picture

PREFILL_CHUNK = 256
SCORED_AT_ONCE = 64
"""Positions whose distributions over the vocabulary exist together."""
CACHE_BUDGET = 512 << 20
"""Bytes of keys and values, of the sequence at work and of those kept for later prompts together. It bounds
the context: with it the default model stays under 3 GB (docs/engine.md)."""
MODELS = {"qwen2": Qwen2Model}


class Cancelled(Exception):
    """The one who asked has gone away; the cache holds what was done until then."""


class Runtime:
    def __init__(self, file: GgufFile, model: Qwen2Model):
        self.name: str = file.metadata.get("general.name", file.path.stem)
        self.path = file.path
        self.architecture = file.architecture
        self.context = min(model.context, model.new_cache().tokens_in(CACHE_BUDGET))
        """Tokens; what the file says, or what the memory for keys and values holds."""
        self.tokenizer = Tokenizer(file)
        self.prefill_speed: float | None = None
        """Tokens per second of the last long prefill; None until there was one."""
        self.last_cached = 0
        """Of the last prompt, the tokens whose keys and values were already held."""
        self.image_grid = None
        self._model = model
        self.forget()

    @classmethod
    def load(
        cls, path: Path, *, threads: int | None = None, progress: Callable[[float], None] | None = None
    ) -> Runtime:
        """Read a GGUF file; `progress` is told the share read, 0 to 1. Raises engine.errors."""
        threads = threads or torch.get_num_threads()
        file = GgufFile(path)
        if file.architecture not in MODELS:
            known = ", ".join(MODELS)
            raise UnsupportedModel(
                f"{path} is of architecture {file.architecture!r}; this engine runs {known}."
            )
        torch.set_num_threads(1)  # layers are read side by side, each by one thread
        model = MODELS[file.architecture](file, progress, threads)
        torch.set_num_threads(threads)
        file.release()
        return cls(file, model)

    def see(self, pictures: Mapping[int, Picture]) -> None:
        raise UnsupportedModel(f"{self.name} cannot see images; ask a model that can.")

    def cached_prefix(self, ids: list[int]) -> int:
        """How many leading tokens of a prompt would not have to be prefilled."""
        return min(self._cache.longest(ids), max(len(ids) - 1, 0))

    def forget(self) -> None:
        """Drop every kept prefix."""
        self._cache = PrefixCache(self._model.new_cache, CACHE_BUDGET)

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
        hidden = self._prefill(prompt, cache, cancelled, on_prefill)
        sampler = Sampler(sampling)
        generated: list[int] = []
        while len(generated) < limit:
            sampled = sampler(self._model.logits(hidden[-1:])[0])
            generated.append(sampled.token_id)
            yield sampled
            if sampled.token_id in stop_ids:
                return
            if len(generated) < limit:
                hidden = self._prefill([*prompt, *generated], cache, cancelled, None)

    def score(
        self, prefix: list[int], text: list[int], top: int, cancelled: Callable[[], bool] = lambda: False
    ) -> list[tuple[float, list[tuple[int, float]]]]:
        """For each token of `text`: its log-probability, and the `top` likeliest others with theirs."""
        self._fits(prefix, text)
        prompt = [*(prefix or [self._beginning()]), *text]
        before = len(prompt) - len(text)
        cache = self._cache.take(prompt, keep=before - 1)
        hidden = self._prefill(prompt, cache, cancelled, None)[-len(text) - 1 : -1]
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
            self._prefill(prompt, cache, cancelled, None)
        taken = [[token_id] for _, token_id in starts]
        totals, stopped = self._first_logprobs(cache, before, starts), [False] * len(starts)
        lengths = torch.tensor([before + index for index, _ in starts])
        model = self._model
        tails = BranchTails(len(model.layers), len(starts), model.kv_heads, model.head_dim, max_tokens)
        alive = list(range(len(starts)))
        for _ in range(max_tokens - 1):
            self._check(cancelled)
            going = [row for row, n in enumerate(alive) if not self._ended(taken[n], stop)]
            if len(going) < len(alive):
                tails.keep(going)
                alive, lengths = [alive[row] for row in going], lengths[going]
            if not alive:
                break
            hidden = model.decode_branches([taken[n][-1] for n in alive], cache, lengths, tails)
            logprobs = torch.log_softmax(model.logits(hidden), dim=-1)
            best = logprobs.max(dim=-1)
            for n, logprob, token_id in zip(alive, best.values.tolist(), best.indices.tolist(), strict=True):
                totals[n] += logprob
                taken[n].append(token_id)
        for n, ids in enumerate(taken):
            stopped[n] = self._ended(ids, stop)
        return list(zip(taken, totals, stopped, strict=True))

    def _first_logprobs(self, cache: KVCache, before: int, starts: Sequence[tuple[int, int]]) -> list[float]:
        """Log-probability of each forced token at its place: one pass over the tokens before them."""
        model = self._model
        lengths = torch.tensor([before + index - 1 for index, _ in starts])
        tails = BranchTails(len(model.layers), len(starts), model.kv_heads, model.head_dim, 1)
        last = [cache.ids[int(length)] for length in lengths]
        logits = model.logits(model.decode_branches(last, cache, lengths, tails))
        logprobs = torch.log_softmax(logits, dim=-1)
        return [float(logprobs[row, token_id]) for row, (_, token_id) in enumerate(starts)]

    def _ended(self, ids: list[int], stop: Callable[[list[int]], bool]) -> bool:
        return ids[-1] in self.tokenizer.end_ids or stop(ids)

    def _prefill(
        self,
        prompt: list[int],
        cache: KVCache,
        cancelled: Callable[[], bool],
        on_prefill: Callable[[int, int], None] | None,
    ) -> torch.Tensor:
        """Feed what the cache lacks of the prompt; returns the hidden states of those tokens."""
        first = len(cache)
        total = len(prompt) - first
        cache.reserve(len(prompt))  # at once: buffers that grow leave holes in memory
        began, hidden = time.perf_counter(), []
        for start in range(first, len(prompt), PREFILL_CHUNK):
            chunk = prompt[start : start + PREFILL_CHUNK]
            hidden.append(self._model.prefill(chunk, cache, lambda: self._check(cancelled)))
            if on_prefill:
                on_prefill(len(cache) - first, total)
        self._cache.touch(cache)
        if total >= PREFILL_CHUNK:
            self.prefill_speed = total / (time.perf_counter() - began)
        return torch.cat(hidden)

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
