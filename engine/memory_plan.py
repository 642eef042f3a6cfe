"""How the memory that a model may take is divided: weights, activations, the context's cache, experts.

Weights, activations and images take what they take. Of the rest the cache gets what a context of the model's
full length needs, as long as all experts fit beside it; where they do not, it gets a quarter at most, and the
experts, whose share decides how much is read from disk for each token, what is left.
"""

from __future__ import annotations

from dataclasses import dataclass

from engine.errors import EngineError
from engine.model import CACHE_STEP

CACHE_SHARE = 0.25
"""Of what is left after weights and activations, where experts and cache cannot both be whole."""
LEAST_CONTEXT = 4096
"""Tokens: below that no agent can work, and a budget is refused."""
ACTIVATION_BYTES = 256 << 20
"""For the numbers within a layer while a prompt is read. The chunk that follows from it depends on the model
alone: what is computed must not depend on how much memory there is."""
RESIDUALS, QUERIES, INNER = 8, 4, 3
"""Copies that exist at once: of the hidden states (what goes on, what is normed, the planes that a product in
8 bits takes it apart into, what that gives), of all heads' queries (projected, rotated, attended, float32),
and of what is within a feed-forward block (gate, up, their product)."""
CHUNK = 256
"""Tokens of a prompt that go through the layers together, in a dense model."""
MOST_CHUNK = 2048
"""The same where there are routed experts. Any few hundred tokens want nearly all experts of a layer, so that
each chunk reads once what is not in memory: four times fewer chunks, four times less to read. A request is
cancelled between layers, and those take longer by as much, hence no more than this."""


@dataclass(frozen=True)
class Needs:
    """What a model takes, in bytes."""

    weights: int
    """Everything but the routed experts, as it is kept in memory."""
    activations_a_token: int
    """Of a prompt's chunk."""
    token_bytes: int
    """Of the cache, for each token."""
    state_bytes: int
    """Of the cache, however short the sequence: recurrent states and their snapshots."""
    context: int
    """Tokens that the model was made for."""
    experts: int = 0
    """All routed experts, as they are kept in memory; 0 in a dense model."""
    least_experts: int = 0
    """With fewer bytes no layer could be computed."""
    vision: int = 0
    """Of images: one on its way through the tower, and what is kept of them."""

    def cache(self, tokens: int) -> int:
        """Of a sequence of so many tokens."""
        steps = -(-tokens // CACHE_STEP)
        return steps * CACHE_STEP * self.token_bytes + self.state_bytes

    @property
    def least_cache(self) -> int:
        return self.cache(min(LEAST_CONTEXT, self.context))

    @property
    def chunk(self) -> int:
        """Tokens of a prompt that go through the layers together."""
        if not self.experts:
            return CHUNK
        held = min(ACTIVATION_BYTES // max(1, self.activations_a_token), MOST_CHUNK)
        return max(CHUNK, held // CHUNK * CHUNK)

    @property
    def fixed(self) -> int:
        """What neither the cache nor experts can have."""
        return self.weights + self.activations + self.vision

    @property
    def activations(self) -> int:
        """Of a chunk."""
        return self.chunk * self.activations_a_token

    def context_in(self, cache: int) -> int:
        """The longest sequence that so many bytes of cache hold, in tokens."""
        steps = max(cache - self.state_bytes, 0) // self.token_bytes // CACHE_STEP
        return min(self.context, steps * CACHE_STEP)


@dataclass(frozen=True)
class Plan:
    """How much each part may take."""

    cache: int
    experts: int
    chunk: int
    """Tokens of a prompt that go through the layers together."""
    device_experts: int = 0
    """Bytes of a device's memory that experts may take besides."""


def divide(memory: int, needs: Needs) -> Plan:
    """Raises EngineError where so little memory holds no working model."""
    if (missing := shortfall(memory, needs)) > 0:
        raise EngineError(
            f"This model needs {(memory + missing) / 1e6:,.0f} MB of memory, and may take "
            f"{max(memory, 0) / 1e6:,.0f} MB; name more with --memory, or end other programs."
        )
    rest = memory - needs.fixed
    wanted = max(rest - needs.experts, int(rest * CACHE_SHARE), needs.least_cache)
    cache = min(needs.cache(needs.context), wanted, rest - needs.least_experts)
    return Plan(cache, min(needs.experts, rest - cache), needs.chunk)


def divide_beside(device: int, memory: int, needs: Needs) -> Plan:
    """Where weights, activations and cache lie in a device's memory of so many bytes, and experts in ours;
    what those leave there is for the hottest experts.

    Raises EngineError where either is too little.
    """
    rest = device - needs.fixed
    for missing, whose in (
        (needs.least_cache - rest, "the GPU's memory"),
        (needs.least_experts - memory, "memory for its experts"),
    ):
        if missing > 0:
            raise EngineError(
                f"This model needs {missing / 1e6:,.0f} MB more of {whose}; end other programs."
            )
    cache = min(needs.cache(needs.context), rest)
    return Plan(cache, min(needs.experts, memory), needs.chunk, min(needs.experts, rest - cache))


def shortfall(memory: int, needs: Needs) -> int:
    """Bytes that are missing for the model to work at all; zero or less where none are."""
    return needs.fixed + needs.least_experts + needs.least_cache - memory


def activations_a_token(hidden: int, heads: int, head: int, inner: int) -> int:
    """Bytes that a token of a prompt takes in float32 on its way through a layer: an estimate, from above.

    `hidden` values between layers, `heads` of `head` values, `inner` within the widest feed-forward block;
    all tokens are taken to go to one expert.
    """
    return 4 * (RESIDUALS * hidden + QUERIES * heads * head + INNER * inner)
