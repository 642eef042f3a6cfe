"""Files that are cut off, damaged or made to harm end in one clear sentence."""

from __future__ import annotations

import json
import os
import pickle
import re
import struct
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file

from engine.checkpoints import open_checkpoint
from engine.errors import BadModelFile, EngineError, ModelNotFound, UnsupportedModel
from tests.engine.checkpoints.reading import read_state
from tests.engine.random_checkpoints import random_model, state_of, write_hf, write_native

INDEX = "model.safetensors.index.json"
FIRST, SECOND = "model-00001-of-00002.safetensors", "model-00002-of-00002.safetensors"


@pytest.fixture(scope="module")
def model() -> Any:
    torch.set_num_threads(2)
    return random_model()


@pytest.fixture
def folder(model: Any, tmp_path: Path) -> Path:
    write_hf(model, tmp_path / "model", fp8=True)
    return tmp_path / "model"


def said(path: Path, model: Any) -> str:
    """What opening and reading everything fails with: an error of ours, of one line."""
    shapes = {name: tuple(value.shape) for name, value in state_of(model).items()}
    with pytest.raises(EngineError) as caught:
        read_state(open_checkpoint(path), shapes)
    text = str(caught.value)
    assert "\n" not in text and text.endswith(".") and len(text) < 600
    return text


def header_of(file: Path) -> tuple[dict[str, Any], bytes]:
    raw = file.read_bytes()
    length = struct.unpack("<Q", raw[:8])[0]
    return json.loads(raw[8 : 8 + length]), raw[8 + length :]


def write_header(file: Path, header: dict[str, Any] | str, data: bytes) -> None:
    text = header if isinstance(header, str) else json.dumps(header)
    file.write_bytes(struct.pack("<Q", len(text.encode())) + text.encode() + data)


def edit_header(file: Path, edit: Callable[[dict[str, Any]], None]) -> None:
    header, data = header_of(file)
    edit(header)
    write_header(file, header, data)


def edit_tensors(file: Path, edit: Callable[[dict[str, torch.Tensor]], object]) -> None:
    tensors = load_file(file)
    edit(tensors)
    save_file({name: value.contiguous() for name, value in tensors.items()}, file)


@pytest.mark.parametrize("left", [0, 5, 8, 200, 0.5, -1])
def test_a_shard_that_is_cut_off(folder: Path, model: Any, left: float) -> None:
    size = (folder / FIRST).stat().st_size
    os.truncate(folder / FIRST, int(size * left) if 0 < left < 1 else int(left) % size)

    assert re.search("too short|truncated|not valid JSON", said(folder, model))


def test_a_file_that_shrinks_after_it_was_opened(folder: Path) -> None:
    checkpoint = open_checkpoint(folder)
    os.truncate(folder / FIRST, 10_000)
    os.truncate(folder / SECOND, 10_000)

    with pytest.raises(BadModelFile, match="ends before the data"):
        checkpoint.expert(0, 0).gate.floats()


@pytest.mark.parametrize("length", [1 << 20, 1 << 40, (1 << 64) - 1])
def test_a_header_that_claims_to_be_huge(folder: Path, model: Any, length: int) -> None:
    raw = (folder / FIRST).read_bytes()
    (folder / FIRST).write_bytes(struct.pack("<Q", length) + raw[8:100_000])

    assert "claims a header" in said(folder, model)


def _first(header: dict[str, Any]) -> dict[str, Any]:
    return header[min(name for name in header if name != "__metadata__")]


def _overlap(header: dict[str, Any]) -> None:
    entries = [header[name] for name in header if name != "__metadata__"]
    sizes = [(entry["shape"], entry["dtype"]) for entry in entries]
    one, other = next((n, m) for n in range(len(sizes)) for m in range(n) if sizes[n] == sizes[m])
    entries[one]["data_offsets"] = entries[other]["data_offsets"]


def _put(key: str, value: Any) -> Callable[[dict[str, Any]], None]:
    return lambda header: _first(header).__setitem__(key, value)


LIES: dict[str, tuple[Callable[[dict[str, Any]], None], str]] = {
    "wrong shape": (lambda header: _first(header)["shape"].append(3), "not of the size"),
    "turned shape": (
        lambda header: header["model.language_model.layers.0.self_attn.q_a_proj.weight"]["shape"].reverse(),
        "has the shape",
    ),
    "negative": (_put("shape", [-1, -320]), "not a short list of whole numbers"),
    "enormous": (_put("shape", [1 << 61, 1 << 61]), "not of the size"),
    "fractions": (_put("shape", [1.5]), "not a short list of whole numbers"),
    "true": (_put("shape", [True, True]), "not a short list of whole numbers"),
    "many dimensions": (_put("shape", [1] * 100), "not a short list of whole numbers"),
    "unknown dtype": (_put("dtype", "F7"), "unknown dtype 'F7'"),
    "no dtype": (_put("dtype", ["F32"]), "unknown dtype"),
    "other keys": (_put("code", "x"), "not a dtype, a shape and offsets"),
    "offsets reversed": (_put("data_offsets", [8, 0]), "not a begin and an end"),
    "three offsets": (_put("data_offsets", [0, 1, 2]), "not a begin and an end"),
    "overlap": (_overlap, "overlap or leave holes"),
    "hole": (
        lambda header: header.pop(min(name for name in header if "norm" in name)),
        "overlap or leave holes",
    ),
    "entry is a list": (lambda header: header.update(x=[1]), "not a dtype, a shape and offsets"),
}


@pytest.mark.parametrize("lie", LIES)
def test_a_header_that_lies(folder: Path, model: Any, lie: str) -> None:
    edit, sentence = LIES[lie]
    for file in (FIRST, SECOND):
        header, _ = header_of(folder / file)
        if lie != "turned shape" or any("0.self_attn.q_a_proj.weight" in name for name in header):
            edit_header(folder / file, edit)

    assert sentence in said(folder, model)


def test_data_after_the_last_tensor(folder: Path, model: Any) -> None:
    with open(folder / FIRST, "ab") as file:
        file.write(b"more")

    assert "not the whole of its data" in said(folder, model)


NO_HEADERS = ["[]", "{", '{"a": 1, "a": 2}', '{"a": ' * 50_000, '{"a": NaN}', "9" * 5000, "\0\ufeff{}"]


@pytest.mark.parametrize("header", NO_HEADERS, ids=range(len(NO_HEADERS)))
def test_a_header_that_is_no_list_of_tensors(folder: Path, model: Any, header: str) -> None:
    write_header(folder / FIRST, header, b"")

    assert re.search("not valid JSON|not a JSON object|twice", said(folder, model))


def test_a_name_in_two_shards(folder: Path, model: Any) -> None:
    name = next(iter(load_file(folder / FIRST)))
    edit_tensors(folder / SECOND, lambda tensors: tensors.update({name: torch.zeros(1)}))

    assert "twice, in" in said(folder, model)


def test_a_name_under_both_prefixes(folder: Path, model: Any) -> None:
    edit_tensors(folder / SECOND, lambda t: t.update({"language_model.model.norm.weight": torch.zeros(256)}))

    assert "under two names" in said(folder, model)


def test_a_missing_shard(folder: Path, model: Any) -> None:
    (folder / SECOND).unlink()
    assert f"{SECOND} is missing" in said(folder, model)
    (folder / INDEX).unlink()
    assert "lacks shard 2 of 2" in said(folder, model)


@pytest.mark.parametrize(
    "name", ["../outside.safetensors", "/etc/passwd", "", "..", "sub/x.safetensors", "a\0b"]
)
def test_an_index_that_names_a_file_elsewhere(folder: Path, model: Any, name: str) -> None:
    index = json.loads((folder / INDEX).read_text())
    index["weight_map"]["lm_head.weight"] = name
    (folder / INDEX).write_text(json.dumps(index))

    assert "not one of its own" in said(folder, model)


@pytest.mark.parametrize(
    "content", ["[]", "{}", '{"weight_map": []}', '{"weight_map": {"a": 1}}', "not JSON"]
)
def test_an_index_that_is_none(folder: Path, model: Any, content: str) -> None:
    (folder / INDEX).write_text(content)

    assert INDEX in said(folder, model)


def test_an_index_that_names_the_wrong_shard(folder: Path, model: Any) -> None:
    index = json.loads((folder / INDEX).read_text())
    index["weight_map"]["lm_head.weight"] = SECOND
    (folder / INDEX).write_text(json.dumps(index))

    assert "does not hold lm_head.weight" in said(folder, model)


def test_links(folder: Path, model: Any, tmp_path: Path) -> None:
    """The hub's cache keeps a model as links to its blobs; a link to anywhere else is refused."""
    hub = tmp_path / "models--x"
    snapshot, blobs = hub / "snapshots" / "1", hub / "blobs"
    snapshot.mkdir(parents=True)
    blobs.mkdir()
    for n, file in enumerate(sorted(folder.iterdir())):
        file.rename(blobs / str(n))
        (snapshot / file.name).symlink_to(f"../../blobs/{n}")
    assert open_checkpoint(snapshot).weight("lm_head.weight").floats().shape == (320, 256)

    elsewhere = tmp_path / "elsewhere.safetensors"
    (blobs / "1").rename(elsewhere)
    (snapshot / FIRST).unlink()
    (snapshot / FIRST).symlink_to(elsewhere)
    assert "a link that leads out of its folder" in said(snapshot, model)


def test_a_pipe_is_not_waited_for(folder: Path, model: Any) -> None:
    (folder / FIRST).unlink()
    os.mkfifo(folder / FIRST)
    assert "not a regular file" in said(folder, model)
    (folder / FIRST).unlink()
    (folder / FIRST).mkdir()
    assert "not a regular file" in said(folder, model)


class Trap:
    def __reduce__(self) -> tuple[Any, ...]:
        return Path.touch, (Path("sprung"),)


@pytest.mark.parametrize("name", ["pytorch_model.bin", "model.pt", "consolidated.00.pth"])
def test_a_pickle_is_never_opened(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "m").mkdir()
    (tmp_path / "m" / "config.json").write_text('{"model_type": "mixtral"}')
    (tmp_path / "m" / name).write_bytes(pickle.dumps(Trap()))
    for path in (tmp_path / "m", tmp_path / "m" / name):
        with pytest.raises(UnsupportedModel, match=r"pickled.*safetensors"):
            open_checkpoint(path)
    (tmp_path / "m" / name).rename(tmp_path / "m" / "model.safetensors")
    with pytest.raises(BadModelFile):
        open_checkpoint(tmp_path / "m")
    assert not (tmp_path / "sprung").exists()


@pytest.mark.parametrize("value", [float("nan"), float("inf"), -float("inf")])
@pytest.mark.parametrize(
    "name", ["o_proj.weight_scale_inv", "experts.down_proj_scale_inv", "1.mlp.gate.weight"]
)
def test_values_and_scales_that_are_no_numbers(folder: Path, model: Any, name: str, value: float) -> None:
    def spoil(tensors: dict[str, torch.Tensor]) -> None:
        for key, tensor in tensors.items():
            if key.endswith(name):
                tensor.view(-1)[-1] = value

    for file in (FIRST, SECOND):
        edit_tensors(folder / file, spoil)
    assert "no finite numbers" in said(folder, model)


def test_scales_that_are_missing_or_do_not_fit(folder: Path, model: Any) -> None:
    name = "model.language_model.layers.1.self_attn.o_proj.weight_scale_inv"
    index = json.loads((folder / INDEX).read_text())
    file = folder / index["weight_map"].pop(name)
    edit_tensors(file, lambda tensors: tensors.update({name: torch.ones(3, 5)}))
    assert "does not fit" in said(folder, model)
    edit_tensors(file, lambda tensors: tensors.pop(name))
    (folder / INDEX).write_text(json.dumps(index))
    assert "has no scale" in said(folder, model)


@pytest.mark.parametrize("spoilt", ["weight_global_scale", "weight_scale", "weight_packed"])
def test_nvfp4_that_is_not_whole(model: Any, tmp_path: Path, spoilt: str) -> None:
    write_native(model, tmp_path / "model", "nvfp4")
    index_file = tmp_path / "model" / "consolidated.safetensors.index.json"
    index = json.loads(index_file.read_text())
    name = f"layers.1.experts.3.w2.{spoilt}"
    file = tmp_path / "model" / index["weight_map"][name]
    for value in (torch.zeros(1), torch.full((1,), float("nan")), torch.ones(2, 7)):
        edit_tensors(file, lambda tensors, value=value: tensors.update({name: value}))
        assert re.search("finite numbers|belongs|whole groups|packed in F32", said(tmp_path / "model", model))


def test_whole_numbers_of_another_quantisation(model: Any, tmp_path: Path) -> None:
    write_native(model, tmp_path / "model", "nvfp4")
    files = sorted((tmp_path / "model").glob("*.safetensors"))
    packed = "layers.0.experts.1.w2.weight_packed"
    for name, value in (
        (packed, torch.zeros(256, 32).int()),
        ("layers.0.attention.wo.weight", torch.zeros(2).int()),
    ):
        file = next(file for file in files if name in load_file(file))
        edit_tensors(file, lambda t, name=name, value=value: t.update({name: value}))
        with pytest.raises(UnsupportedModel, match=r"that Ostro does not read; use the BF16"):
            open_checkpoint(tmp_path / "model")
        edit_tensors(file, lambda t, name=name: t.update({name: torch.zeros(256, 128, dtype=torch.uint8)}))


CONFIGS: dict[str, tuple[dict[str, Any], str]] = {
    "layers": ({"num_hidden_layers": 10**9}, "has 1000000000 layers, the weights have 2"),
    "experts": ({"n_routed_experts": 10**9}, "has 1000000000 experts a layer, the weights have 4"),
    "width": ({"hidden_size": 128}, "has projections of"),
    "depth": ({"moe_intermediate_size": 128}, "has projections of"),
}


@pytest.mark.parametrize("lie", CONFIGS)
def test_a_configuration_that_lies(folder: Path, model: Any, lie: str) -> None:
    config = json.loads((folder / "config.json").read_text())
    config["text_config"].update(CONFIGS[lie][0])
    (folder / "config.json").write_text(json.dumps(config))

    assert CONFIGS[lie][1] in said(folder, model)


@pytest.mark.parametrize("missing", ["experts.down_proj", "experts.gate_up_proj"])
def test_experts_that_are_not_complete(folder: Path, model: Any, missing: str) -> None:
    (folder / INDEX).unlink()
    for file in (FIRST, SECOND):
        edit_tensors(folder / file, lambda t: [t.pop(n) for n in list(t) if f"1.mlp.{missing}" in n])

    assert "layer 1 are not complete" in said(folder, model)


@pytest.mark.parametrize(
    ("values", "sentence"),
    [
        ({"dim": "256"}, "dim is not a whole number"),
        ({"n_layers": 10**30}, "n_layers is not a whole number"),
        ({"n_layers": 3}, "has 3 layers, the weights have 2"),
        ({"norm_eps": -1}, "norm_eps is not a positive number"),
        ({"moe": 4}, "no object moe"),
        ({"tied_embeddings": 0}, "tied_embeddings is not true or false"),
        ({"kv_lora_rank": None}, "is not Mistral Small 4"),
    ],
)
def test_params_that_lie(model: Any, tmp_path: Path, values: dict[str, Any], sentence: str) -> None:
    write_native(model, tmp_path / "model")
    file = tmp_path / "model" / "params.json"
    file.write_text(json.dumps({**json.loads(file.read_text()), **values}))

    assert sentence in said(tmp_path / "model", model)


def test_places_without_a_model(tmp_path: Path) -> None:
    (tmp_path / "a.gguf").write_bytes(b"GGUF")
    (tmp_path / "b.gguf").write_bytes(b"GGUF")
    (tmp_path / "empty").mkdir()
    for path, sentence in (
        (tmp_path, "several GGUF"),
        (tmp_path / "empty", "no model"),
        (tmp_path / "x", "no model"),
    ):
        with pytest.raises(ModelNotFound, match=sentence):
            open_checkpoint(path)
    (tmp_path / "empty" / "model.safetensors").write_bytes(b"")
    with pytest.raises(BadModelFile, match=r"without config\.json"):
        open_checkpoint(tmp_path / "empty")
    with pytest.raises(UnsupportedModel, match="name its folder"):
        open_checkpoint(tmp_path / "empty" / "model.safetensors")
