"""The scripted model with a Mistral's tokens and eyes, for tests of images over the socket."""

from __future__ import annotations

from collections.abc import Mapping

from engine.vision.album import Picture
from engine.vision.grid import ImageGrid
from tests.engine.scripted_runtime import ScriptedRuntime
from tests.engine.tekken_files import tokenizer


class SeeingRuntime(ScriptedRuntime):
    def __init__(self) -> None:
        super().__init__("mistral4")
        self.tokenizer = tokenizer()  # type: ignore[assignment]
        self.image_grid = ImageGrid(patch=14, longest=1540, merge=2)  # type: ignore[assignment]

    def see(self, pictures: Mapping[int, Picture]) -> None:
        self.seen = dict(pictures)
