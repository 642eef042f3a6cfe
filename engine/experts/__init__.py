"""Experts that need not fit in memory: their packed form, the kernels, and the store that keeps the hot ones.

`convert` writes the packed form, `PackedModel` reads it, `ExpertStore` computes a layer's routed experts
from it (or from any other checkpoint) within a budget of memory. See docs/experts.md.
"""

from engine.experts.convert import convert
from engine.experts.counters import Counters
from engine.experts.kernels import Activation, silu_and_multiply
from engine.experts.packed import PackedModel, is_packed
from engine.experts.profile import profile_path
from engine.experts.store import ExpertStore, bytes_for, packed_bytes_for

__all__ = [
    "Activation", "Counters", "ExpertStore", "PackedModel", "bytes_for", "convert",
    "is_packed", "packed_bytes_for", "profile_path", "silu_and_multiply",
]  # fmt: skip
