"""Models that transformers defines and Ostro runs. Importing this imports transformers: only
`engine.runtime.Runtime.load` does, and only for a model that needs it."""

from __future__ import annotations

import os

# Read when transformers is imported: what runs a model here is on this machine, not fetched from a hub.
os.environ.setdefault("USE_HUB_KERNELS", "NO")

from engine.hosted.experts import Activation, Experts, activation_of
from engine.hosted.latent import SoftmaxScale
from engine.hosted.model import HostedModel, Source
from engine.hosted.needs import needs_of
from engine.hosted.precision import Precision, Weight

__all__ = [
    "Activation", "Experts", "HostedModel", "Precision", "SoftmaxScale", "Source", "Weight", "activation_of",
    "needs_of",
]  # fmt: skip
