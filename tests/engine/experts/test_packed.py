"""The packed form: what it keeps, how it is written when things go wrong, and what a damaged one says."""

from __future__ import annotations

import json
import os
import random
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from engine.errors import BadModelFile, EngineError, ModelNotFound, UnsupportedModel
from engine.experts import ExpertStore, PackedModel, convert
from engine.experts.convert import JOURNAL
from engine.experts.packed import DENSE, MANIFEST, layer_file
from engine.experts.tiles import ORDERS, native_order, pack, unpack
from tests.engine.experts.random_source import RandomSource, RandomWeight

ROOT = Path(__file__).parents[3]
ROUNDED = {"float32": 0.0, "bfloat16": 0.003, "int8": 0.01, "int4": 0.09}
"""Norm of the weights' rounding, relative to the weights'."""


@pytest.mark.parametrize("form", ROUNDED)
@pytest.mark.parametrize("biased", [False, True])
def test_weights_are_what_they_were(form: str, biased: bool, tmp_path: Path) -> None:
    source = RandomSource(tmp_path, biased=biased, intermediate=96, hidden=160)
    packed = convert(source, tmp_path / "packed", form=form)

    assert (
        packed.config == source.config
        and packed.expert_count() == 8
        and list(packed.expert_layers()) == [1, 2]
    )
    for layer in packed.expert_layers():
        for n in range(8):
            mine, theirs = packed.expert(layer, n), source.expert(layer, n)
            for name in ("gate", "up", "down"):
                before, after = getattr(theirs, name).floats(), getattr(mine, name)
                assert after.shape == tuple(before.shape)
                assert (after.floats() - before).norm() <= ROUNDED[form] * before.norm()
                assert torch.equal(after.rows(3, 9), after.floats()[3:9])
            if biased:
                for before, after in zip(theirs.biases or (), mine.biases or (), strict=True):
                    assert torch.equal(before, after)
            else:
                assert mine.biases is None


def test_q4_k_is_kept_to_the_bit(tmp_path: Path) -> None:
    source = RandomSource(tmp_path, hidden=512, intermediate=256, numbers="Q4_K", layers=1, experts=2)
    packed = convert(source, tmp_path / "packed")

    assert packed.layers[1].geometry.kept == ("gate_up", "down")
    for n in range(2):
        for name in ("gate", "up", "down"):
            before, after = getattr(source.expert(1, n), name), getattr(packed.expert(1, n), name)
            kept, numbers = after.blocks(), before.blocks()
            assert torch.equal(kept.q, numbers.q)
            assert torch.equal(kept.levels.units, numbers.levels.units)
            assert torch.equal(kept.levels.levels, numbers.levels.levels)
            assert torch.allclose(
                after.floats(), before.floats(), rtol=1e-6, atol=1e-6 * before.floats().abs().max()
            )
    again = convert(packed, tmp_path / "again")
    assert (tmp_path / "again" / layer_file(1)).read_bytes() == (
        tmp_path / "packed" / layer_file(1)
    ).read_bytes()
    assert again.weight("lm_head.weight").kind == "BF16"


def test_q8_0_of_one_scale_a_row_is_kept_to_the_bit(tmp_path: Path) -> None:
    source = RandomSource(tmp_path, numbers="Q8_0", layers=1, experts=2)
    packed = convert(source, tmp_path / "packed", form="int8")
    for name in ("gate", "up", "down"):
        before, after = (
            getattr(source.expert(1, 1), name).floats(),
            getattr(packed.expert(1, 1), name).floats(),
        )
        assert torch.equal(before, after)


def test_dense_tensors(tmp_path: Path) -> None:
    import safetensors.torch

    source = RandomSource(tmp_path)
    packed = convert(source, tmp_path / "packed")
    assert list(packed.names()) == source.names()
    for name in source.names():
        assert torch.allclose(packed.weight(name).floats(), source.weight(name).floats(), rtol=0.004)
    assert torch.equal(
        packed.weight("model.norm.weight").floats(), source.weight("model.norm.weight").floats()
    )
    read = safetensors.torch.load_file(tmp_path / "packed" / DENSE)
    assert torch.equal(read["lm_head.weight"].float(), packed.weight("lm_head.weight").floats())


@pytest.mark.parametrize("order", ORDERS, ids=lambda order: order.name)
def test_every_order_of_values_turns_back(order: Any) -> None:
    values = torch.randint(0, 16, (192, 96), dtype=torch.uint8)
    stored = pack(values)
    turned = stored.clone()
    if order.turn is not None:
        order.turn(stored.numpy(), turned.numpy())
    assert torch.equal(order.back(turned), values)
    assert torch.equal(unpack(stored), values)


@pytest.mark.parametrize("capability", ["avx512", "avx2", "default"])
def test_the_order_is_found_for_every_processor(capability: str, tmp_path: Path) -> None:
    """One file, whose results differ between kinds of processors by torch's own rounding alone."""
    program = (
        "import sys, torch; from pathlib import Path; from engine.experts import *;"
        "from engine.experts.tiles import native_order; print(native_order().name);"
        "torch.manual_seed(0); s = ExpertStore.open(PackedModel(Path(sys.argv[1])), budget=1 << 24);"
        "x = torch.randn(4, 512); i = torch.tensor([[0, 1]] * 4); w = torch.full((4, 2), 0.5);"
        "y = s.forward(1, x, i, w); s.close(); torch.save(y, sys.argv[2])"
    )
    source = RandomSource(tmp_path, hidden=512, intermediate=256, numbers="Q4_K", layers=1, experts=2)
    convert(source, tmp_path / "packed")
    done = subprocess.run(
        [sys.executable, "-c", program, str(tmp_path / "packed"), str(tmp_path / "y.pt")],
        env=os.environ | {"ATEN_CPU_CAPABILITY": capability, "PYTHONPATH": str(ROOT)},
        capture_output=True, text=True, timeout=120, check=True,
    )  # fmt: skip
    assert done.stdout.strip() != "packer"
    torch.manual_seed(0)
    x = torch.randn(4, 512)
    with ExpertStore.open(PackedModel(tmp_path / "packed"), budget=1 << 24) as store:
        expected = store.forward(1, x, torch.tensor([[0, 1]] * 4), torch.full((4, 2), 0.5))
    got = torch.load(tmp_path / "y.pt", weights_only=True)
    assert (got - expected).norm() <= 0.01 * expected.norm()


def test_a_torch_with_an_order_of_its_own_packs_itself(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    source = RandomSource(tmp_path, layers=1)
    packed = convert(source, tmp_path / "packed")
    arguments = (1, torch.randn(3, 64), torch.tensor([[0, 1]] * 3), torch.full((3, 2), 0.5))
    with ExpertStore.open(packed, budget=1 << 24) as store:
        expected = store.forward(*arguments)
    native_order.cache_clear()
    monkeypatch.setattr("engine.experts.tiles.ORDERS", ())
    try:
        assert native_order().name == "packer"
        with ExpertStore.open(packed, budget=1 << 24) as store:
            assert torch.equal(store.forward(*arguments), expected)
        values = torch.randint(0, 16, (128, 64), dtype=torch.uint8)
        turned = np.empty_like(pack(values).numpy())
        order = native_order()
        assert order.turn is not None
        order.turn(pack(values).numpy(), turned)
        assert torch.equal(order.back(torch.from_numpy(turned)), values)
    finally:
        native_order.cache_clear()


# Conversion


CHILD = (
    "import sys; from pathlib import Path; from engine.experts import convert;"
    "from tests.engine.experts.random_source import RandomSource;"
    "f = Path(sys.argv[1]);"
    "s = RandomSource(f / 'source', layers=4, experts=16, hidden=256, intermediate=256);"
    "print('ready', flush=True); convert(s, f / 'packed')"
)


def test_a_conversion_killed_anywhere_goes_on(tmp_path: Path) -> None:
    (tmp_path / "source").mkdir()
    (tmp_path / "source" / "tokenizer.json").write_text("{}")
    folder, partial = tmp_path / "packed", tmp_path / "packed.partial"
    chances = random.Random(1)
    interrupted = 0
    for _ in range(6):
        lines = (partial / JOURNAL).read_bytes().count(b"\n") if partial.exists() else 0
        child = subprocess.Popen(
            [sys.executable, "-c", CHILD, str(tmp_path)], stdout=subprocess.PIPE, cwd=ROOT,
            env=os.environ | {"PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"},
        )  # fmt: skip
        assert child.stdout and child.stdout.readline()
        until = lines + chances.randint(1, 12)
        while child.poll() is None and not _has_lines(partial / JOURNAL, until):
            time.sleep(0.0005)
        child.send_signal(signal.SIGKILL)
        interrupted += child.wait() == -signal.SIGKILL
        if folder.exists():
            break
        # A power cut may leave the last line half written as well.
        raw = (partial / JOURNAL).read_bytes()
        (partial / JOURNAL).write_bytes(raw + b'{"layer": 1, "exp')
    assert interrupted >= 2
    finished = _finished(partial) if partial.exists() else set()
    source = RandomSource(tmp_path / "source", layers=4, experts=16, hidden=256, intermediate=256)
    if not folder.exists():
        inodes = {file.name: file.stat().st_ino for file in partial.glob("experts-*.bin")}
        seen: list[tuple[int, int]] = []
        convert(source, folder, progress=lambda done, total: seen.append((done, total)))
        assert seen[-1][0] == seen[-1][1] and seen == sorted(seen)
        assert (
            inodes.items() <= {file.name: file.stat().st_ino for file in folder.glob("experts-*.bin")}.items()
        )
        # What was finished is asked for once more only where a layer's first expert shows the layer's format.
        again = {one for one in set(source.asked) if source.asked.count(one) > (one[1] == 0)}
        assert finished and not again & finished

    other = convert(source, tmp_path / "at-once", form="int4")
    for file in sorted(path.name for path in other.path.iterdir()):
        assert (folder / file).read_bytes() == (other.path / file).read_bytes()
    assert (folder / "tokenizer.json").exists() and not (folder / JOURNAL).exists() and not partial.exists()


def test_a_conversion_refuses_what_it_would_spoil(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    source = RandomSource(tmp_path / "m")
    (tmp_path / "m").mkdir()
    (tmp_path / "taken").mkdir()
    with pytest.raises(EngineError, match=r"taken exists already; name another folder or remove it\."):
        convert(source, tmp_path / "taken")

    usage = shutil.disk_usage(tmp_path)
    monkeypatch.setattr(shutil, "disk_usage", lambda _: usage._replace(free=1000))
    with pytest.raises(
        EngineError, match=r"needs 0\.\d GB more on its disk, which has 0\.0 GB free; make room"
    ):
        convert(source, tmp_path / "full")
    assert not list((tmp_path / "full.partial").glob("experts-*")) and not (tmp_path / "full").exists()
    monkeypatch.undo()

    def broken(done: int, total: int) -> None:
        if done > total // 2:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        convert(source, tmp_path / "half", progress=broken)
    assert not (tmp_path / "half").exists()
    with pytest.raises(EngineError, match="another conversion's beginning"):
        convert(source, tmp_path / "half", form="int8")
    convert(source, tmp_path / "half")

    narrow = RandomSource(tmp_path / "m", hidden=40, intermediate=24)
    with pytest.raises(UnsupportedModel, match="do not fill groups of 32 at 4 bits; use int8"):
        convert(narrow, tmp_path / "narrow")
    convert(narrow, tmp_path / "narrow", form="int8")


@pytest.mark.parametrize("bad", [float("nan"), float("inf")])
@pytest.mark.parametrize("form", ROUNDED)
def test_a_weight_that_is_no_number_is_refused(form: str, bad: float, tmp_path: Path) -> None:
    source = RandomSource(tmp_path)
    source.expert(2, 3).down.tensor[5, 7] = bad
    with pytest.raises(BadModelFile, match=r"Layer 2, expert 3 of .* not a finite number"):
        convert(source, tmp_path / "packed", form=form)
    assert not (tmp_path / "packed").exists()


def test_a_wrong_shape_is_refused(tmp_path: Path) -> None:
    source = RandomSource(tmp_path)
    source.expert(2, 3).down = RandomWeight(torch.zeros(64, 64))
    with pytest.raises(BadModelFile, match=r"expert 3 of .* has a down matrix of \(64, 64\), not \(64, 32\)"):
        convert(source, tmp_path / "packed")


# Damage


def use(folder: Path) -> None:
    """Read everything there is, as a model would."""
    packed = PackedModel(folder)
    for name in packed.names():
        packed.weight(name).floats()
    everyone = torch.arange(8)[None]
    with ExpertStore.open(packed, budget=1 << 24) as store:
        for layer in packed.expert_layers():
            store.forward(layer, torch.ones(1, 64), everyone, torch.ones(1, 8))
    for layer in packed.expert_layers():
        packed.expert(layer, 7).down.floats()


def test_a_flipped_byte_anywhere_in_a_record_is_found(tmp_path: Path) -> None:
    convert(RandomSource(tmp_path), tmp_path / "packed")
    use(tmp_path / "packed")
    chances = random.Random(2)
    for name in (layer_file(1), layer_file(2), DENSE):
        file = tmp_path / "packed" / name
        whole = file.read_bytes()
        for _ in range(12):
            at = chances.randrange(len(whole))
            if name == DENSE and at < 2048:
                continue  # the header has a test of its own
            file.write_bytes(whole[:at] + bytes([whole[at] ^ 1 << chances.randrange(8)]) + whole[at + 1 :])
            with pytest.raises(
                BadModelFile, match=r"is damaged: .* is not what was written; convert it again\.$"
            ):
                use(tmp_path / "packed")
        file.write_bytes(whole)
    use(tmp_path / "packed")


def test_the_store_lives_on_after_a_damaged_expert(tmp_path: Path) -> None:
    packed = convert(RandomSource(tmp_path), tmp_path / "packed")
    file = packed.path / layer_file(1)
    with file.open("r+b") as handle:
        handle.seek(3 * packed.layers[1].geometry.bytes)
        handle.write(b"\xff\x00\xff")
    with ExpertStore.open(packed, budget=1 << 24) as store:
        arguments = torch.ones(1, 64), torch.tensor([[2, 3, 4]]), torch.ones(1, 3)
        for _ in range(3):
            with pytest.raises(BadModelFile, match="expert 3 is not what was written"):
                store.forward(1, *arguments)
        store.forward(1, torch.ones(1, 64), torch.tensor([[1, 2, 4]]), torch.ones(1, 3))
        store.forward(2, *arguments)


def test_a_file_cut_short_is_found(tmp_path: Path) -> None:
    packed = convert(RandomSource(tmp_path), tmp_path / "packed")
    for name in (layer_file(2), DENSE):
        file = tmp_path / "packed" / name
        whole = file.read_bytes()
        file.write_bytes(whole[:-1])
        with pytest.raises(BadModelFile, match=r"instead of [\d,]+ \(truncated\?\)"):
            PackedModel(tmp_path / "packed")
        file.unlink()
        with pytest.raises(BadModelFile):
            PackedModel(tmp_path / "packed")
        file.write_bytes(whole)
    # While it is in use: a store reads, and does not map.
    with ExpertStore.open(packed, budget=1 << 24) as store:
        os.truncate(tmp_path / "packed" / layer_file(2), 4096 * 3)
        with pytest.raises(BadModelFile, match=r"ends too early|cannot be read"):
            store.forward(2, torch.ones(1, 64), torch.tensor([[6, 7]]), torch.ones(1, 2))


LIES: dict[str, Any] = {
    "format": "other", "form": "int3", "hidden": 1 << 40, "intermediate": -3, "experts": 9, "layers": {},
    "biased": 1, "config": [], "dense": {"a": 1}, "experts ": None,
}  # fmt: skip


@pytest.mark.parametrize("key", LIES)
def test_a_manifest_that_lies_is_found(key: str, tmp_path: Path) -> None:
    convert(RandomSource(tmp_path), tmp_path / "packed")
    file = tmp_path / "packed" / MANIFEST
    manifest = json.loads(file.read_bytes())
    if LIES[key] is None:
        del manifest[key.strip()]
    else:
        manifest[key] = LIES[key]
    file.write_text(json.dumps(manifest))
    with pytest.raises((BadModelFile, UnsupportedModel), match=r"\.$"):
        PackedModel(tmp_path / "packed")


@pytest.mark.parametrize(
    ("key", "value"),
    [("layer", "../../x"), ("layer", -1), ("layer", 2), ("kept", ["up"]), ("record_bytes", 8192),
     ("checksums", []), ("checksums", ["a"] * 8), ("checksums", None)],
)  # fmt: skip
def test_a_layer_that_lies_is_found(key: str, value: Any, tmp_path: Path) -> None:
    convert(RandomSource(tmp_path), tmp_path / "packed")
    file = tmp_path / "packed" / MANIFEST
    manifest = json.loads(file.read_bytes())
    manifest["layers"][0][key] = value
    file.write_text(json.dumps(manifest))
    with pytest.raises(BadModelFile, match="does not describe a packed model"):
        PackedModel(tmp_path / "packed")


@pytest.mark.parametrize(
    "raw", [b"", b"[]", b"{", b"\xff\xfe", b"[" * 100_000, b'{"format": "ostro-packed", "version": 2}']
)
def test_what_is_no_manifest_is_refused(raw: bytes, tmp_path: Path) -> None:
    with pytest.raises(ModelNotFound):
        PackedModel(tmp_path)
    (tmp_path / MANIFEST).write_bytes(raw)
    with pytest.raises((BadModelFile, UnsupportedModel)):
        PackedModel(tmp_path)


def test_a_hostile_scale_with_a_right_checksum_is_refused(tmp_path: Path) -> None:
    import zlib

    packed = convert(RandomSource(tmp_path), tmp_path / "packed")
    geometry = packed.layers[1].geometry
    records = bytearray((packed.path / layer_file(1)).read_bytes())
    at = geometry.parts["down.scales"].offset
    records[at : at + 2] = (
        torch.tensor([float("nan")], dtype=torch.bfloat16).view(torch.uint8).numpy().tobytes()
    )
    (packed.path / layer_file(1)).write_bytes(records)
    manifest = json.loads((packed.path / MANIFEST).read_bytes())
    manifest["layers"][0]["checksums"][0] = zlib.crc32(records[: geometry.bytes])
    (packed.path / MANIFEST).write_text(json.dumps(manifest))
    with pytest.raises(BadModelFile, match="has a scale in expert 0 that is not a finite number"):
        use(packed.path)


def _has_lines(journal: Path, lines: int) -> bool:
    try:
        return journal.read_bytes().count(b"\n") >= lines
    except FileNotFoundError:
        return False


def _finished(partial: Path) -> set[tuple[int, int]]:
    lines = (partial / JOURNAL).read_bytes().split(b"\n")[1:-1]
    return {(entry["layer"], entry["expert"]) for line in lines if "expert" in (entry := json.loads(line))}
