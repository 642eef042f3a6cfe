"""One small random model, written in each layout, is read back as the same function."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from gguf import GGMLQuantizationType as Kind

from engine.checkpoints import Checkpoint, open_checkpoint
from tests.engine.checkpoints.reading import load_model
from tests.engine.random_checkpoints import State, random_model, state_of, write_hf, write_native
from tests.engine.random_gguf import write_gguf

Write = Callable[[Any, Path], State]


def _gguf(kind: Kind, experts: Kind | None = None, **options: bool) -> Write:
    def choose(name: str) -> Kind:
        return experts if experts is not None and "_exps" in name else kind

    return lambda model, path: write_gguf(model, path, choose, **options)


def _mixture(model: Any, path: Path) -> State:
    """The types of a Q4_K_M and a Q3_K_M file side by side."""
    kinds = {"ffn_down": Kind.Q6_K, "ffn_gate": Kind.Q4_K, "ffn_up": Kind.Q3_K, "output": Kind.Q5_K}
    return write_gguf(model, path, lambda name: next((kinds[k] for k in kinds if k in name), Kind.Q8_0))


# How far the files may be from the model: relative to the largest value of each weight. None: random blocks.
LAYOUTS: dict[str, tuple[str, Write, float | None]] = {
    "hf bf16": ("hf", lambda model, path: write_hf(model, path), 0.0),
    "hf bf16 old names": ("hf", lambda model, path: write_hf(model, path, old_prefix=True, shards=1), 0.0),
    "hf fp8": ("hf", lambda model, path: write_hf(model, path, fp8=True), 2**-4),
    "hf fp8 old names": ("hf", lambda model, path: write_hf(model, path, fp8=True, old_prefix=True), 2**-4),
    "native bf16": ("native", lambda model, path: write_native(model, path), 0.0),
    "native fp8": ("native", lambda model, path: write_native(model, path, "fp8"), 2**-4),
    "native nvfp4": ("native", lambda model, path: write_native(model, path, "nvfp4"), 0.2),
    "gguf f16": ("gguf", _gguf(Kind.F16), 1e-4),
    "gguf bf16 merged": ("gguf", _gguf(Kind.BF16, merged=True), 0.0),
    "gguf q8_0": ("gguf", _gguf(Kind.Q8_0), 2**-7),
    "gguf q8_0 whole kv_b": ("gguf", _gguf(Kind.Q8_0, legacy=True), 2**-7),
    "gguf mxfp4_moe": ("gguf", _gguf(Kind.Q8_0, Kind.MXFP4), 0.3),
    "gguf k-quants": ("gguf", _mixture, None),
}


@pytest.fixture(scope="module")
def model() -> Any:
    torch.set_num_threads(2)
    return random_model()


@pytest.fixture(scope="module", params=LAYOUTS)
def written(
    request: pytest.FixtureRequest, model: Any, tmp_path_factory: Any
) -> tuple[str, Checkpoint, State]:
    layout, write, _ = LAYOUTS[request.param]
    path = tmp_path_factory.mktemp("layout") / ("model.gguf" if layout == "gguf" else "model")
    truth = write(model, path)
    return request.param, open_checkpoint(path), truth


def logits(model: Any) -> torch.Tensor:
    with torch.no_grad():
        return model(input_ids=torch.arange(20, 60).reshape(2, 20)).logits


def test_the_files_are_read_exactly_and_stay_near_the_model(
    written: tuple[str, Checkpoint, State], model: Any
) -> None:
    name, checkpoint, truth = written
    layout, _, near = LAYOUTS[name]
    assert checkpoint.layout == layout
    loaded = state_of(load_model(checkpoint))

    assert set(loaded) == set(truth)
    for weight, value in truth.items():
        assert torch.equal(loaded[weight], value), weight
    original = state_of(model)
    if layout == "gguf":
        original = {key.replace("model.language_model.", "model."): value for key, value in original.items()}
    for weight, value in loaded.items() if near is not None else ():
        error = (value - original[weight]).abs().max() / original[weight].abs().max()
        assert error <= (near or 0.0), weight


def test_the_model_built_from_the_files_is_the_same_function(
    written: tuple[str, Checkpoint, State], model: Any
) -> None:
    name, checkpoint, truth = written
    same = random_model(checkpoint.config, seed=1)
    same.load_state_dict(truth, strict=True)
    ours = logits(load_model(checkpoint))

    assert torch.equal(ours, logits(same))
    near = LAYOUTS[name][2]
    if near is not None:
        expected = logits(model)
        distance = (ours - expected).norm() / expected.norm()
        # A routed model may choose another expert where a weight is rounded; the bulk stays.
        assert distance <= (1e-5 if near == 0.0 else 0.1 if near < 2**-6 else 0.5)


def test_images_are_seen_alike(model: Any, tmp_path: Path) -> None:
    write_native(model, tmp_path / "model")
    loaded = load_model(open_checkpoint(tmp_path / "model"))
    pixels = torch.randn(1, 3, 16, 24)
    ids = torch.tensor([[1, 3, *[10] * 6, 4, 30]])
    arguments = {"input_ids": ids, "pixel_values": pixels, "image_sizes": torch.tensor([[16, 24]])}

    with torch.no_grad():
        assert torch.equal(loaded(**arguments).logits, model(**arguments).logits)
        assert not torch.equal(loaded(**arguments).logits, loaded(input_ids=ids.clamp(min=11)).logits)


def test_the_configuration_says_what_the_model_is(model: Any, tmp_path: Path) -> None:
    write_native(model, tmp_path / "native")
    write_gguf(model, tmp_path / "model.gguf", lambda _: Kind.F16)
    native = load_model(open_checkpoint(tmp_path / "native")).config
    text = load_model(open_checkpoint(tmp_path / "model.gguf")).config

    for key in model.config.text_config.to_dict():
        expected = getattr(model.config.text_config, key)
        if key not in ("_name_or_path", "architectures", "dtype", "transformers_version"):
            assert getattr(native.text_config, key) == expected, key
            assert getattr(text, key) == expected, key
    for key in (
        "hidden_size",
        "intermediate_size",
        "num_hidden_layers",
        "head_dim",
        "patch_size",
        "image_size",
    ):
        assert getattr(native.vision_config, key) == getattr(model.config.vision_config, key)
    assert native.vision_config.rope_parameters == model.config.vision_config.rope_parameters


@pytest.mark.parametrize(("said", "meant"), [(False, False), (True, True), (None, True)])
@pytest.mark.parametrize("both", [False, True])
def test_the_scale_of_scores_is_kept(
    model: Any, tmp_path: Path, both: bool, said: bool | None, meant: bool
) -> None:
    """`yarn.apply_scale` of params.json, which config.json has no word for; left out, it is true. Where
    both layouts are in a folder it is read by config.json, and says it all the same."""
    folder = tmp_path / "model"
    write_native(model, folder)
    params = json.loads((folder / "params.json").read_text())
    params["yarn"].pop("apply_scale")
    if said is not None:
        params["yarn"]["apply_scale"] = said
    (folder / "params.json").write_text(json.dumps(params))
    if both:
        write_hf(model, folder)
    checkpoint = open_checkpoint(folder)

    assert checkpoint.layout == ("hf" if both else "native")
    assert checkpoint.config["text_config"]["yarn_apply_scale"] is meant


def test_what_config_json_says_of_the_scale_stands(model: Any, tmp_path: Path) -> None:
    write_native(model, tmp_path)
    write_hf(model, tmp_path)
    config = json.loads((tmp_path / "config.json").read_text())
    config["text_config"]["yarn_apply_scale"] = True
    (tmp_path / "config.json").write_text(json.dumps(config))

    assert open_checkpoint(tmp_path).config["text_config"]["yarn_apply_scale"] is True


def test_rows_blocks_and_bytes_agree_with_the_whole(written: tuple[str, Checkpoint, State]) -> None:
    _, checkpoint, _ = written
    checkpoint.release()
    expert = checkpoint.expert(1, 2)
    for weight in (expert.gate, expert.up, expert.down):
        whole = weight.floats()
        assert torch.equal(weight.rows(3, 70), whole[3:70]) and weight.rows(5, 5).shape == (0, whole.shape[1])
        grouped, part = weight.blocks(), weight.blocks(7, 9)
        if weight.kind in ("F16", "BF16", "F8_E4M3"):
            assert grouped is None and part is None
        else:
            assert grouped is not None and part is not None
            assert torch.equal(grouped.floats(), whole) and torch.equal(part.floats(), whole[7:9])
            most = 15 if grouped.bits == 4 else 127
            assert (
                int(grouped.q.max()) <= most
                and grouped.q.dtype == (torch.uint8, torch.int8)[grouped.bits == 8]
            )
    assert 0.4 * whole.numel() < weight.stored_bytes <= 2 * whole.numel()
