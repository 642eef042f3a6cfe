"""A config folder that only looks as if it were the user's."""

from __future__ import annotations

from pathlib import Path

import pytest

from agent.config import config_folder
from agent.ending import EnvironmentProblem
from tests.conftest import GitRepo


def test_a_link_into_the_repository_is_refused(
    git_repo: GitRepo, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    repo = git_repo({"mine/config.toml": ""})
    (tmp_path / "config").mkdir()
    (tmp_path / "config" / "ostro").symlink_to(repo / "mine")
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "config"))
    with pytest.raises(EnvironmentProblem, match="XDG_CONFIG_HOME"):
        config_folder(repo)
