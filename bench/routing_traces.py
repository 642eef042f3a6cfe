"""Routing traces with the locality that was seen in real models, and the hit rates of two ways to cache them.

Reported for a model of 128 experts (gemma-4-26b-a4b, LRU): hit rates of 0.89, 0.67 and 0.45 with 50, 25 and
12.5 % of the experts in memory. A trace is made so: each layer has favourites (their chance falls by e over
some ranks), some of which change places as topics change, and a token's experts are often those of the token
before.
"""

from __future__ import annotations

from collections import OrderedDict

import numpy as np

from engine.experts.heat import Heat

SEEN = {0.5: 0.89, 0.25: 0.67, 0.125: 0.45}
REACH, STAY, TOPIC, CHANGED = 26.0, 0.25, 64, 4
"""Rank at which the chance has fallen to 1/e, chance that an expert stays for the next token, tokens of a
topic, favourites that change with it: chosen so that LRU has the rates above."""


def local_trace(
    tokens: int, layers: int = 2, experts: int = 128, k: int = 4, seed: int = 0,
    reach: float = REACH, stay: float = STAY, topic: int = TOPIC, changed: int = CHANGED,
) -> np.ndarray:  # fmt: skip
    """int64 [tokens, layers, k]"""
    random = np.random.default_rng(seed)
    chances = np.exp(-np.arange(experts) / reach)
    chances /= chances.sum()
    ranks = np.array([random.permutation(experts) for _ in range(layers)])
    trace = np.zeros((tokens, layers, k), dtype=np.int64)
    for token in range(tokens):
        for layer in range(layers):
            if token % topic == topic - 1:
                moved = random.choice(experts, changed, replace=False)
                ranks[layer, moved] = ranks[layer, random.permutation(moved)]
            chosen: list[int] = []
            if token:
                chosen = [int(n) for n in trace[token - 1, layer] if random.random() < stay]
            while len(chosen) < k:
                n = int(ranks[layer, random.choice(experts, p=chances)])
                if n not in chosen:
                    chosen.append(n)
            trace[token, layer] = chosen
    return trace


def uniform_trace(tokens: int, layers: int = 2, experts: int = 128, k: int = 4, seed: int = 0) -> np.ndarray:
    """int64 [tokens, layers, k]: no locality at all."""
    return np.random.default_rng(seed).random((tokens, layers, experts)).argsort(axis=2)[..., :k]


def lru_rate(trace: np.ndarray, slots: int, skip: int) -> float:
    """Hits among uses after the first `skip` tokens, for `slots` slots that all layers share."""
    held: OrderedDict[tuple[int, int], None] = OrderedDict()
    hits = uses = 0
    for token, layers in enumerate(trace):
        for layer, experts in enumerate(layers.tolist()):
            for n in experts:
                hit = held.pop((layer, n), 0) is None
                held[layer, n] = None
                if len(held) > slots:
                    held.popitem(last=False)
                if token >= skip:
                    hits, uses = hits + hit, uses + 1
    return hits / uses


def heat_rate(trace: np.ndarray, slots: int, skip: int, experts: int = 128, **options: float) -> float:
    """The same for the store's policy: the coldest goes."""
    layers = trace.shape[1]
    heat = Heat(layers * experts, layers, **options)
    held: set[int] = set()
    hits = uses = 0
    for token, chosen in enumerate(trace):
        for layer, numbers in enumerate(chosen):
            keys = numbers + layer * experts
            heat.used(layer, keys, np.ones(len(keys)), 1)
            for key in keys.tolist():
                hit = key in held
                if not hit:
                    if len(held) >= slots:
                        rest = np.array([one for one in held if one not in keys])
                        held.discard(int(rest[heat.scores[rest].argmin()]))
                    held.add(key)
                if token >= skip:
                    hits, uses = hits + hit, uses + 1
    return hits / uses
