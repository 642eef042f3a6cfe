"""A model that transformers defines and Ostro runs: dense weights streamed in, experts held by whoever holds
them, a cache that grows in steps, and a way out between layers."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, Protocol

import torch
from torch import Tensor

from engine.errors import BadModelFile, EngineError, UnsupportedModel
from engine.hosted.build import adapt, build, layout, text_model
from engine.hosted.cache import HostedCache, State
from engine.hosted.experts import Experts
from engine.hosted.images import Images, Picture, embed_image, kept_bytes
from engine.hosted.latent import SoftmaxScale
from engine.hosted.precision import COMPUTED_IN, Precision, cache_dtype_of
from engine.hosted.steps import BranchStep, PrefillStep, Step, Tails, stacked
from engine.hosted.weights import DenseWeights, Loader

ROLLED_AT_ONCE = 256
"""Tokens of a prefix fed together where recurrent states have to be found again."""


class Source(DenseWeights, Protocol):
    """What a model is loaded from: `engine.checkpoints.Checkpoint`, or whatever has as much."""

    @property
    def config(self) -> dict[str, Any]:
        """As transformers' config.json."""
        ...


def _go_on() -> None:
    """Nobody wants to stop."""


class HostedModel:
    """`engine.network.Network`. Not thread safe."""

    def __init__(self, model: Any, cache_layout: Any, device: torch.device, where: Any):
        """Of a model that was built, adapted and filled: see `load`."""
        self._model, self._layout, self._device, self._where = model, cache_layout, device, where
        self._decoder = text_model(model)
        self._head = model.lm_head
        kept = kept_bytes(model.config) if self.sees else 0
        self._images = Images(lambda pixels, check: embed_image(model.model, pixels.to(device), check), kept)
        self.hidden: int = self._decoder.config.hidden_size
        self.vocabulary: int = self._decoder.config.vocab_size
        self.context: int = self._decoder.config.max_position_embeddings

    @classmethod
    def load(
        cls,
        source: Source,
        experts: Experts | None = None,
        *,
        precision: Precision = "bfloat16",
        device: str | torch.device = "cpu",
        cache_dtype: torch.dtype | None = None,
        softmax_scale: SoftmaxScale = "stated",
        progress: Callable[[float], None] | None = None,
    ) -> HostedModel:
        """Read the dense weights of `source`, one at a time.

        `experts` hold the routed experts; dense models need none. `cache_dtype` is that of keys, values and
        latents: bfloat16 where none is given, float32 at precision float32. `softmax_scale` concerns latent
        attention alone. Raises UnsupportedModel and BadModelFile.
        """
        device = torch.device(device)
        if precision == "int8" and device.type != "cpu":
            raise UnsupportedModel("Weights in int8 run on the processor alone; use bfloat16 on a GPU.")
        if cache_dtype is None:
            cache_dtype = cache_dtype_of(precision)
        model = build(source.config, source.path, device)
        adapt(model, experts, softmax_scale, source.path)
        Loader(source, precision, device, progress).fill(model)
        kept = layout(model, cache_dtype, COMPUTED_IN[precision], device)
        return cls(model, kept, device, source.path)

    @property
    def sees(self) -> bool:
        """Whether it takes images."""
        return hasattr(self._model.model, "vision_tower")

    @property
    def token_bytes(self) -> int:
        """What the cache takes for one more token."""
        return self._layout.token_bytes

    def new_cache(self) -> HostedCache:
        return HostedCache(self._layout)

    def see(self, pictures: Mapping[int, Picture]) -> None:
        """The images of the next prompts, by their numbers: see `engine.vision.places`.

        One is looked at, by the vision tower, when a place of it is fed for the first time.
        """
        if pictures and not self.sees:
            raise UnsupportedModel(f"{self._where} is a model without vision; leave the image out.")
        self._images.show(pictures)

    @torch.inference_mode()
    def prefill(
        self,
        ids: list[int],
        cache: HostedCache,
        check: Callable[[], None] = _go_on,
        *,
        positions: Sequence[int] | None = None,
    ) -> Tensor:
        """Append `ids` to the cached sequence. Returns hidden states [T, hidden], normed for the head.

        `check` is called before each layer, of the vision tower too, and may raise: the cache then stays as
        it was. `positions` are the tokens' places in the text, where those are not their places in the
        sequence; what a token sees goes by its place in the sequence.
        """
        if not ids:
            return torch.empty(0, self.hidden, device=self._device)
        step = PrefillStep(cache, len(ids))
        places = range(len(cache), len(cache) + len(ids)) if positions is None else positions
        at = torch.tensor([list(places)], device=self._device)
        hidden = self._run(self._embed(ids, check)[None], at, step, check)[0]
        step.commit(ids)
        return hidden

    @torch.inference_mode()
    def logits(self, hidden: Tensor) -> Tensor:
        """[T, hidden] to float32 [T, vocabulary], on the CPU."""
        return self._head(hidden).float().cpu()

    def branches(
        self,
        prefix: HostedCache,
        lengths: list[int],
        capacity: int,
        check: Callable[[], None] = _go_on,
    ) -> HostedBranches:
        """Branch b continues the first `lengths[b]` tokens of `prefix`, by at most `capacity` tokens.

        Recurrent layers have no state but where snapshots were kept: the text from the last one on is fed
        once more, and `check` may then raise.
        """
        states = self._states_at(prefix, lengths, check)
        return HostedBranches(self, prefix, lengths, capacity, states)

    def _embed(self, ids: list[int], check: Callable[[], None] = _go_on) -> Tensor:
        """[T, hidden]; ids below zero are places of images."""
        seen = [at for at, each in enumerate(ids) if each < 0]
        words = [max(each, 0) for each in ids]
        if max(words) >= self.vocabulary:
            raise EngineError(
                f"The prompt has a token that this model lacks (it knows {self.vocabulary:,}); its tokenizer "
                "belongs to another model."
            )
        x = self._decoder.embed_tokens(torch.tensor(words, device=self._device))
        if seen:
            x[seen] = self._images.rows([ids[at] for at in seen], check).to(x)
        return x

    def _run(self, x: Tensor, positions: Tensor, step: Step, check: Callable[[], None]) -> Tensor:
        """[batch, T, hidden] through all layers and the last norm; `positions` is [batch, T]."""
        rotation = self._decoder.rotary_emb(x, positions)
        for layer in self._decoder.layers:
            check()
            x = layer(
                x,
                position_embeddings=rotation,
                attention_mask=None,
                position_ids=positions,
                cache=step,
                step=step,
            )
        x = self._decoder.norm(x)
        if not bool(torch.isfinite(x).all()):
            raise BadModelFile(
                f"{self._where} gives numbers that are not finite: weights of it are damaged; fetch it again."
            )
        return x

    def _states_at(
        self, prefix: HostedCache, lengths: list[int], check: Callable[[], None]
    ) -> list[dict[int, State]]:
        """Of the recurrent layers, after each of these lengths of the prefix."""
        if prefix.cuttable:
            return [{} for _ in lengths]
        found: dict[int, dict[int, State]] = {}
        rolling: HostedCache | None = None
        for length in sorted(set(lengths)):
            near = prefix.reusable(length)
            if rolling is None or near > len(rolling):
                rolling = prefix.copy(near)
            while len(rolling) < length:
                end = min(len(rolling) + ROLLED_AT_ONCE, length)
                self.prefill(prefix.ids[len(rolling) : end], rolling, check)
            found[length] = rolling.states
        return [found[length] for length in lengths]


class HostedBranches:
    """Branches of one sequence, decoded as a batch (`engine.network.Branches`)."""

    def __init__(
        self,
        model: HostedModel,
        prefix: HostedCache,
        lengths: list[int],
        capacity: int,
        states: list[dict[int, State]],
    ):
        self._model, self._prefix = model, prefix
        self._lengths = torch.tensor(lengths, device=prefix.layout.device)
        self._tails = Tails(prefix, len(lengths), capacity)
        self._states = stacked(states, prefix)

    @torch.inference_mode()
    def step(self, ids: list[int]) -> Tensor:
        """One more token for each branch. Returns hidden states [B, hidden], normed for the head."""
        model = self._model
        step = BranchStep(self._prefix, self._lengths, self._tails, self._states)
        positions = (self._lengths + self._tails.length)[:, None]
        hidden = model._run(model._embed(ids)[:, None], positions, step, _go_on)
        self._tails.length += 1
        self._states = step.after()
        return hidden[:, 0]

    def keep(self, rows: list[int]) -> None:
        """Drop the branches that ended."""
        self._tails.keep(rows)
        self._lengths = self._lengths[rows]
        self._states = {
            n: State(state.conv[rows], state.recurrent[rows]) for n, state in self._states.items()
        }
