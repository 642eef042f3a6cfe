"""The routing profile of a model, kept in the user's cache folder: how its experts were used before."""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import tempfile
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import platformdirs
import safetensors
from safetensors.numpy import save

VERSION = "1"
MAX_BYTES = 1 << 30


@dataclass(frozen=True)
class Profile:
    """Counts of one model's routing."""

    routing: np.ndarray
    """int64 [layers, experts]: tokens that each expert was given."""
    together: np.ndarray
    """uint16 [layers, experts, experts]: see `Predictor`."""
    uses: np.ndarray
    """uint32 [layers, experts]"""

    def save(self, path: Path) -> None:
        """Whole or not at all; a folder that cannot be written to is passed over, it costs speed alone."""
        arrays = {"routing": self.routing, "together": self.together, "uses": self.uses}
        data = save(arrays, metadata={"ostro": VERSION})
        with contextlib.suppress(OSError):
            path.parent.mkdir(parents=True, exist_ok=True)
            handle, name = tempfile.mkstemp(dir=path.parent, prefix=path.name)
            try:
                with os.fdopen(handle, "wb") as file:
                    file.write(data)
                os.replace(name, path)
            except BaseException:
                os.unlink(name)
                raise

    @classmethod
    def load(cls, path: Path, layers: int, experts: int) -> Profile | None:
        """None where there is none of this shape: a damaged one only means to begin without."""
        try:
            if path.stat().st_size > MAX_BYTES:
                return None
            with safetensors.safe_open(path, framework="numpy") as file:
                if (file.metadata() or {}).get("ostro") != VERSION:
                    return None
                routing, together, uses = (file.get_tensor(name) for name in ("routing", "together", "uses"))
        except (OSError, ValueError, KeyError, safetensors.SafetensorError):
            return None
        if routing.shape != (layers, experts) or together.shape != (layers, experts, experts):
            return None
        if uses.shape != (layers, experts) or (routing < 0).any():
            return None
        if (routing.dtype, together.dtype, uses.dtype) != (np.int64, np.uint16, np.uint32):
            return None
        return cls(routing, together, uses)


def profile_path(model: Path, config: dict[str, object]) -> Path:
    """Where this model's profile lies, whether or not it is there. The same for every form of a model."""
    identity = json.dumps([model.name, config], sort_keys=True, default=str)
    digest = hashlib.sha256(identity.encode("utf-8", "surrogateescape")).hexdigest()[:16]
    return Path(platformdirs.user_cache_dir("ostro", appauthor=False)) / "profiles" / f"{digest}.safetensors"
