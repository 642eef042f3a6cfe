"""Choosing the next token from logits."""

from __future__ import annotations

from dataclasses import dataclass

import torch

from engine.request import Sampling


@dataclass(frozen=True)
class Sampled:
    token_id: int
    logprob: float
    """Of the token under the model's own distribution (temperature 1, nothing cut off), in nats."""
    entropy: float
    """Of that distribution, in nats."""


class Sampler:
    """Draws tokens by `Sampling`; at temperature 0 takes the likeliest. Same seed, same draws."""

    def __init__(self, sampling: Sampling):
        self._sampling = sampling
        self._generator = torch.Generator()
        if sampling.seed is None:
            self._generator.seed()
        else:
            self._generator.manual_seed(sampling.seed)

    def __call__(self, logits: torch.Tensor) -> Sampled:
        """`logits` is float32 [vocabulary]."""
        logprobs = torch.log_softmax(logits, dim=-1)
        token_id = self._choose(logits)
        entropy = -(logprobs.exp() * logprobs).nansum()
        return Sampled(token_id, float(logprobs[token_id]), float(entropy))

    def _choose(self, logits: torch.Tensor) -> int:
        if self._sampling.temperature == 0:
            return int(logits.argmax())
        probabilities = kept(logits, self._sampling)
        return int(torch.multinomial(probabilities, 1, generator=self._generator))


def kept(logits: torch.Tensor, sampling: Sampling) -> torch.Tensor:
    """The distribution drawn from: temperature, then top-k, top-p and min-p, renormalised."""
    scaled = logits / sampling.temperature
    if 0 < sampling.top_k < scaled.numel():
        limit = scaled.topk(sampling.top_k).values[-1]
        scaled = scaled.masked_fill(scaled < limit, float("-inf"))
    probabilities = torch.softmax(scaled, dim=-1)
    if sampling.top_p < 1.0:
        ordered, order = probabilities.sort(descending=True)
        beyond = ordered.cumsum(0) - ordered >= sampling.top_p
        probabilities[order[beyond]] = 0.0
    if sampling.min_p > 0.0:
        probabilities[probabilities < sampling.min_p * probabilities.max()] = 0.0
    return probabilities / probabilities.sum()
