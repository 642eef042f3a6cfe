"""Random damage, anywhere: an error of one sentence or what was written, never a crash or a silent change."""

from __future__ import annotations

import struct
from pathlib import Path
from typing import Any

import pytest
import torch
from gguf import GGMLQuantizationType as Kind
from gguf import GGUFReader
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from engine.checkpoints import open_checkpoint
from engine.errors import EngineError
from tests.engine.checkpoints.reading import read_state
from tests.engine.random_checkpoints import State, random_model, small_config, write_hf, write_native
from tests.engine.random_gguf import write_gguf

damage = settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
Flips = st.lists(st.tuples(st.floats(0, 1, exclude_max=True), st.integers(1, 255)), min_size=1, max_size=4)


class Written:
    """A model on disk that is damaged and mended again."""

    def __init__(self, root: Path, layout: str):
        small = {"hidden_size": 64, "moe_intermediate_size": 32, "intermediate_size": 64, "vocab_size": 40}
        torch.set_num_threads(2)
        model = random_model(small_config(**small))
        self.root, self.path = root, root / ("model.gguf" if layout == "gguf" else "model")
        if layout == "gguf":
            state = write_gguf(model, self.path, lambda _: Kind.Q8_0)
        elif layout == "hf":
            state = write_hf(model, self.path, fp8=True, shards=1)
        else:
            state = write_native(model, self.path, "nvfp4")
        self.state = state
        self.shapes = {name: tuple(value.shape) for name, value in state.items()}
        self.file = (
            self.path if layout == "gguf" else max(self.path.iterdir(), key=lambda f: f.stat().st_size)
        )
        self.raw = self.file.read_bytes()

    def data_begins(self) -> int:
        if self.path.suffix == ".gguf":
            return min(tensor.data_offset for tensor in GGUFReader(self.path).tensors)
        return 8 + struct.unpack("<Q", self.raw[:8])[0]

    def read(
        self, flips: list[tuple[float, int]], first: int, last: int, file: Path | None = None
    ) -> State | None:
        """The state dict after bytes of [first, last) were changed; None after an error of one sentence."""
        file = file or self.file
        raw = self.raw if file == self.file else file.read_bytes()
        damaged = bytearray(raw)
        for place, change in flips:
            damaged[first + int(place * (last - first))] ^= change
        file.write_bytes(damaged)
        try:
            return read_state(open_checkpoint(self.path), self.shapes)
        except EngineError as error:
            assert "\n" not in str(error) and str(error).endswith(".") and len(str(error)) < 800
            return None
        finally:
            file.write_bytes(raw)


@pytest.fixture(scope="module", params=["hf", "native", "gguf"])
def written(request: pytest.FixtureRequest, tmp_path_factory: Any) -> Written:
    return Written(tmp_path_factory.mktemp("damage"), request.param)


def unchanged(state: State | None, expected: State) -> bool:
    return state is None or all(torch.equal(state[name], value) for name, value in expected.items())


@damage
@given(flips=Flips)
def test_a_damaged_header(written: Written, flips: list[tuple[float, int]]) -> None:
    state = written.read(flips, 0, written.data_begins())

    # GGUF has numbers in its header (types, offsets) that other valid numbers can take the place of.
    if written.path.suffix == ".gguf":
        assert state is None or all(value.isfinite().all() for value in state.values())
    else:
        assert unchanged(state, written.state)


@damage
@given(flips=Flips)
def test_damaged_values(written: Written, flips: list[tuple[float, int]]) -> None:
    """Formats have no checksums: numbers must stay numbers, and the damage where it is."""
    state = written.read(flips, written.data_begins(), len(written.raw))

    if state is not None:
        assert all(value.isfinite().all() for value in state.values())
        assert sum(not torch.equal(state[name], value) for name, value in written.state.items()) <= len(flips)


@damage
@given(share=st.floats(0, 1, exclude_max=True))
def test_a_file_cut_off_anywhere(written: Written, share: float) -> None:
    written.file.write_bytes(written.raw[: int(len(written.raw) * share)])
    try:
        with pytest.raises(EngineError):
            open_checkpoint(written.path)
    finally:
        written.file.write_bytes(written.raw)


@damage
@given(flips=Flips, which=st.integers(0, 9))
def test_a_damaged_description(written: Written, flips: list[tuple[float, int]], which: int) -> None:
    """config.json, params.json and the index of the shards."""
    if written.path.suffix == ".gguf":
        return
    files = sorted(file for file in written.path.iterdir() if file.suffix == ".json")
    file = files[which % len(files)]

    assert unchanged(written.read(flips, 0, file.stat().st_size, file), written.state)


@damage
@given(raw=st.binary(max_size=400))
@pytest.mark.parametrize("name", ["config.json", "params.json", "model.safetensors.index.json", "model.gguf"])
def test_any_bytes_at_all(tmp_path: Path, name: str, raw: bytes) -> None:
    state = {
        "config.json": b'{"model_type": "mixtral"}',
        "model.safetensors": b"",
        "consolidated.safetensors": b"",
    }
    for other, content in {**state, name: raw}.items():
        (tmp_path / other).write_bytes(content)
    if name == "params.json":
        (tmp_path / "config.json").unlink()

    with pytest.raises(EngineError) as caught:
        open_checkpoint(tmp_path / name if name == "model.gguf" else tmp_path)
    assert "\n" not in str(caught.value)


def test_without_damage_it_is_what_was_written(written: Written) -> None:
    state = written.read([], 0, 1)

    assert state is not None and unchanged(state, written.state)
