"""`--output-dir` inside the repository, where the commands of the run lay traps for what is written last."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from pathlib import Path

import pytest

from agent.ending import EnvironmentProblem
from tests.conftest import GitRepo
from tests.scripted_engine import call, say
from tests.tui.test_headless import headless
from tui.output_folder import OutputFolder

FILES = {"events.jsonl": b"1\n", "result.json": b"2\n", "patch.diff": b"3\n"}


def test_links_and_pipes_that_commands_left_are_replaced(
    git_repo: GitRepo, tmp_path: Path, capfd: pytest.CaptureFixture[str]
):
    victim = tmp_path / "victim"
    victim.write_text("mine\n")
    trap = f"ln -s {victim} out/events.jsonl; mkfifo out/result.json; ln README out/patch.diff"
    repo = git_repo({"README": "hello\n"})
    code = headless(repo, [call("shell", command=trap), say("Done.")], as_json=True, output_dir=repo / "out")
    end = json.loads(capfd.readouterr().out.splitlines()[-1])

    assert code == 0 and victim.read_text() == "mine\n" and (repo / "README").read_text() == "hello\n"
    assert json.loads((repo / "out" / "result.json").read_text()) == end
    assert sorted(os.listdir(repo / "out")) == sorted([".gitignore", *FILES])
    seen = subprocess.run(["git", "status", "--porcelain", "out"], cwd=repo, capture_output=True, check=True)
    assert seen.stdout == b"", "it would be in the way of an undo"


def test_a_folder_that_commands_replaced_by_a_link_is_not_followed(
    git_repo: GitRepo, tmp_path: Path, capfd: pytest.CaptureFixture[str]
):
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    repo = git_repo({})
    trap = call("shell", command=f"mv out moved && ln -s {elsewhere} out")
    headless(repo, [trap, say("Done.")], as_json=True, output_dir=repo / "out")

    assert os.listdir(elsewhere) == []
    assert "is not the folder it was when the run began" in capfd.readouterr().err
    assert (repo / "moved" / "result.json").exists()


def test_a_folder_that_is_gone_is_said(tmp_path: Path):
    folder = OutputFolder.open(tmp_path / "out")
    shutil.rmtree(tmp_path / "out")
    said = folder.write(FILES)
    folder.close()

    assert said and "cannot be written" in said and not (tmp_path / "out").exists()


def test_a_link_is_no_output_folder(tmp_path: Path):
    (tmp_path / "out").symlink_to(tmp_path)
    with pytest.raises(EnvironmentProblem, match="it is a link"):
        OutputFolder.open(tmp_path / "out")


def test_what_an_earlier_run_wrote_is_replaced(tmp_path: Path):
    for _ in range(2):
        folder = OutputFolder.open(tmp_path)
        assert folder.write(FILES) is None
        folder.close()
    assert {name: (tmp_path / name).read_bytes() for name in FILES} == FILES
    assert sorted(os.listdir(tmp_path)) == sorted([".gitignore", *FILES])


def test_a_folder_with_something_in_it_stays_as_it_is(tmp_path: Path):
    (tmp_path / "mine").write_text("")
    OutputFolder.open(tmp_path).close()
    assert os.listdir(tmp_path) == ["mine"]
