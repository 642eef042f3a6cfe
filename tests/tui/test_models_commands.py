"""`ostro models show`, `convert` and `fit` as commands, on a small random checkpoint; and a run with it."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
from dataclasses import asdict
from pathlib import Path
from typing import Any

import pytest

from engine import machine_memory
from engine.experts import PackedModel
from engine.machine_memory import all_memory
from engine.wire import build
from tests.agent.running import ROOT
from tests.conftest import GitRepo
from tests.engine import random_checkpoints as random
from tests.engine.hosted.tiny import MISTRAL
from tests.engine.tekken_files import write_tekken
from tests.engine.vision.image_files import photo, saved
from tests.tui.test_command_line import one_sentence, ostro
from tui import fitting

EXPERTS = 48
MACHINE = {
    "memory": 64 << 30, "available": 48 << 30, "bandwidth": 2e10, "product": 5e10, "disk": 2e9,
    "experts": {form: {"decode": 9e9, "prefill": 6e10} for form in ("int4", "int8")},
}  # fmt: skip


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A small Mistral Small 4 with its tokenizer, in the hub's layout. Not to be changed."""
    path = tmp_path_factory.mktemp("models") / "small-4"
    config = random.small_config(
        vocab_size=131_072, hidden_size=64, n_routed_experts=EXPERTS, max_position_embeddings=4096
    )
    random.write_hf(random.random_model(config), path)
    tekken = json.loads(write_tekken(path, "v15").read_text())
    tekken["image"] = {"image_patch_size": 4, "max_image_size": 32, "spatial_merge_size": 2}
    (path / "tekken.json").write_text(json.dumps(tekken))
    return path


@pytest.fixture(scope="module")
def packed(folder: Path) -> Path:
    done = ostro("models", "convert", str(folder))
    assert done.returncode == 0, done.stderr
    return folder.with_name("small-4-4bit")


def files(folder: Path) -> dict[str, bytes]:
    return {file.name: file.read_bytes() for file in folder.iterdir() if file.name != "manifest.json"}


def test_a_converted_folder_is_whole_and_says_what_it_is(folder: Path, packed: Path) -> None:
    model = PackedModel(packed)
    assert (model.form, model.expert_count()) == ("int4", EXPERTS)
    assert (packed / "tekken.json").read_bytes() == (folder / "tekken.json").read_bytes()
    whole = json.loads(ostro("models", "show", str(folder), "--json", "--memory", "1GB").stdout)
    assert whole["format"] == "hf"
    assert (whole["memory"], whole["context_in_memory"]) == (10**9, 4096)
    said = ostro("models", "show", str(packed)).stdout
    assert "format              packed\n" in said and f"experts             {EXPERTS}\n" in said
    assert f"parameters          {whole['parameters']:,}\n" in said and "int4" in said


def test_a_run_with_the_converted_folder_answers(packed: Path, git_repo: GitRepo) -> None:
    repo = git_repo({"a.py": "x = 1\n"})
    done = ostro(
        "run", "Say hello.", "--model", str(packed), "--memory", "500MB", "--max-steps", "1", "--json",
        cwd=repo, CI="1",
    )  # fmt: skip
    events = [json.loads(line) for line in done.stdout.splitlines()]
    ready = [event for event in events if event["type"] == "model" and event["state"] == "ready"]
    assert [(event["family"], event["context"]) for event in ready] == [("mistral", 4096)]
    assert sum(event["generated"] for event in events if event["type"] == "usage") > 0, done.stderr
    assert events[-1]["type"] == "end" and events[-1]["outcome"] in ("done", "limit")
    told = json.loads(ostro("sessions", "show", events[0]["session"], "--json").stdout.splitlines()[0])
    assert told["type"] == "start"


def test_a_run_shows_an_image(packed: Path, git_repo: GitRepo, tmp_path: Path) -> None:
    """Of 32 x 32 pixels, that is 4 rows of 4 places, each row with an end."""
    (tmp_path / "shot.png").write_bytes(saved(photo(32, 32), "PNG"))
    repo, prompts = git_repo({"a.py": "x = 1\n"}), []
    for more in ((), ("--image", str(tmp_path / "shot.png"))):
        done = ostro(
            "run", "What is this?", "--model", str(packed), "--memory", "600MB", "--max-steps", "1",
            "--json", *more, cwd=repo, CI="",
        )  # fmt: skip
        events = [json.loads(line) for line in done.stdout.splitlines()]
        prompts += [event["prompt"] for event in events if event["type"] == "usage"]
    assert prompts[1] == prompts[0] + 4 * (4 + 1), done.stderr

    (tmp_path / "text.png").write_text("hello")
    done = ostro(
        "run", "What is this?", "--model", str(packed), "--memory", "600MB", "--image", "text.png",
        "--repo", str(repo), cwd=tmp_path, CI="1",
    )  # fmt: skip
    assert done.returncode == 2
    assert done.stderr.rstrip().endswith("This is no image that can be read; PNG, JPEG, WebP and GIF can.")


def test_too_small_a_budget_is_said_by_a_run(packed: Path, git_repo: GitRepo) -> None:
    done = ostro("run", "Say hello.", "--model", str(packed), "--memory", "2MB", cwd=git_repo({}), CI="1")
    assert done.returncode == 3
    assert "needs" in done.stderr and "--memory" in done.stderr and "Traceback" not in done.stderr


def test_an_interrupted_conversion_goes_on(folder: Path, packed: Path, tmp_path: Path) -> None:
    target = tmp_path / "packed"
    command = [sys.executable, str(ROOT / "ostro.py"), "models", "convert", str(folder), str(target)]
    with subprocess.Popen(command, stderr=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        assert process.stderr and process.stdout
        first = process.stderr.readline()
        process.send_signal(signal.SIGINT)
        said = process.stderr.read()
        assert process.wait(60) == 130 and not process.stdout.read()
    assert "packing" in first and said.rstrip().endswith("Interrupted; the same command goes on from here.")
    assert "Traceback" not in said and not target.exists()
    partial = target.with_name("packed.partial")
    finished = (partial / "journal.jsonl").read_bytes().splitlines()[1:]
    assert 0 < len(finished) < 2 * EXPERTS

    done = ostro("models", "convert", str(folder), str(target))
    assert (done.returncode, done.stdout) == (0, f"small-4 is packed: {target}\n")
    assert not partial.exists()
    assert files(target) == files(packed)
    assert json.loads((target / "manifest.json").read_text()) == json.loads(
        (packed / "manifest.json").read_text()
    )


def a_dense_model(path: Path) -> Path:
    from transformers import MistralConfig, MistralForCausalLM

    random.write_hf(MistralForCausalLM(MistralConfig(**{**MISTRAL, "vocab_size": 64})), path)
    return path


def a_cut_one(folder: Path, path: Path) -> Path:
    shutil.copytree(folder, path)
    shard = next(path.glob("model-*.safetensors"))
    os.truncate(shard, shard.stat().st_size - 1)
    return path


def pickles(path: Path) -> Path:
    path.mkdir()
    (path / "config.json").write_text(json.dumps({"model_type": "mistral"}))
    (path / "pytorch_model.bin").write_bytes(b"\x80\x04.")
    return path


@pytest.mark.parametrize("verb", ["show", "convert"])
def test_what_is_no_model_is_one_sentence(verb: str, folder: Path, tmp_path: Path) -> None:
    """Names are looked up by the command itself, files are opened by a process of the engine's."""
    (tmp_path / "empty").mkdir()
    (tmp_path / "text.gguf").write_text("hello")
    wrong = {
        "no-such-model": "no-such-model",
        str(tmp_path / "missing"): "There is no file",
        str(tmp_path / "empty"): "is a folder without config.json",
    }
    if verb == "show":
        wrong[str(tmp_path / "text.gguf")] = "is not a GGUF file"
        wrong[str(pickles(tmp_path / "pickled"))] = "pickled, which can run programs"
    else:
        wrong[str(a_cut_one(folder, tmp_path / "cut"))] = "truncated?"
    for ref, said in wrong.items():
        done = ostro("models", verb, ref)
        assert (done.returncode, done.stdout) == (3, ""), ref
        assert said in one_sentence(done)


def test_what_cannot_be_converted_is_one_sentence(
    folder: Path, packed: Path, tiny_model: Path, tmp_path: Path
) -> None:
    dense = a_dense_model(tmp_path / "dense")
    for words, code, said in (
        ((str(dense),), 3, "has no routed experts"),
        ((str(tiny_model),), 3, "architecture 'qwen2'"),
        ((str(folder), str(packed)), 3, "exists already"),
        ((str(folder), "--bits", "3"), 2, "is not 4, 8 or 16"),
        ((str(folder), ""), 2, "name of the folder is empty"),
        ((), 2, "REF"),
    ):
        done = ostro("models", "convert", *words)
        assert (done.returncode, done.stdout) == (code, "")
        assert said in one_sentence(done)


@pytest.fixture
def measured(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """This machine was measured before."""
    from engine.known_needs import known_needs

    (tmp_path / "ostro").mkdir()
    needs = {name: asdict(each) for name, each in known_needs().items()}
    told = {**MACHINE, "memory": all_memory(), "build": build(), "needs": needs}
    (tmp_path / "ostro" / "machine.json").write_text(json.dumps(told))
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))


def test_fit_says_what_runs_here_and_how(measured: None) -> None:
    done = ostro("models", "fit", "--json")
    rows: list[dict[str, Any]] = [json.loads(line) for line in done.stdout.splitlines()]
    assert (done.returncode, done.stderr) == (0, "")
    assert {(row["name"], row["form"]) for row in rows} == {
        ("qwen2.5-coder-1.5b", "int8"), ("qwen2.5-coder-0.5b", "int8"),
        ("mistral-small-4", "int4"), ("mistral-small-4", "int8"),
    }  # fmt: skip
    for row in rows:
        assert row["verdict"] == "no" or (row["command"].startswith("ostro ") and row["decode"] > 0)
    said = ostro("models", "fit").stdout
    assert "mistral-small-4" in said and "--again measures anew" in said


def test_fit_asks_what_the_engine_asks(measured: None, monkeypatch: pytest.MonkeyPatch) -> None:
    """Within a group of processes that is nearly full, and of an engine that was changed since."""
    kept = Path(os.environ["XDG_CACHE_HOME"]) / "ostro" / "machine.json"
    monkeypatch.setattr(machine_memory, "free_in_cgroup", lambda: 1 << 20)
    found = fitting._known(kept)
    assert found is not None and found[0].available == 1 << 20
    monkeypatch.setattr(fitting, "build", lambda: "another")
    assert fitting._known(kept) is None


def test_fit_within_a_budget(measured: None) -> None:
    done = ostro("models", "fit", "--json", "--memory", "3GB")
    rows = {(row["name"], row["form"]): row for row in map(json.loads, done.stdout.splitlines())}
    assert rows["mistral-small-4", "int4"]["verdict"] == "no"
    small = rows["qwen2.5-coder-1.5b", "int8"]
    assert small["context"] == 32_768 and small["command"].endswith("--memory 3000000000B")
    done = ostro("models", "fit", "--memory", "900TB")
    assert done.returncode == 3 and "this machine has" in one_sentence(done)


def test_fit_measures_a_machine_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    first = ostro("models", "fit", "--json")
    assert first.returncode == 0 and "Measuring this machine" in first.stderr
    kept = json.loads((tmp_path / "ostro" / "machine.json").read_text())
    assert kept["bandwidth"] > 1e8 and kept["product"] > 1e8 and set(kept["experts"]) == {"int4", "int8"}
    again = ostro("models", "fit", "--json")
    assert (again.returncode, again.stderr) == (0, "")
