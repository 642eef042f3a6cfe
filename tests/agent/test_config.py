from __future__ import annotations

import contextlib
import os
import re
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from agent import config
from agent.config import load
from agent.ending import EnvironmentProblem
from agent.rules import TOOLS
from sandbox import Limits
from tests.agent.running import ROOT, run
from tests.conftest import GitRepo
from tests.scripted_engine import call, say


@pytest.fixture(autouse=True)
def file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "config"))
    path = tmp_path / "config" / "ostro" / "config.toml"
    path.parent.mkdir(parents=True)
    return path


def test_without_a_file_nothing_is_different():
    assert load().sandbox_limits() == Limits() and load().approvals.rule == []


def test_the_example_of_the_docs_is_complete(file: Path):
    page = (ROOT / "docs" / "config.md").read_text("utf-8")
    (example,) = re.findall(r"```toml\n(.*?)```", page, re.DOTALL)
    file.write_text(example)
    told = load()

    assert told.model_fields_set == set(config.Config.model_fields)
    assert told.limits.model_fields_set == set(config.LimitsTable.model_fields)
    assert {key for rule in told.approvals.rule for key in rule.model_fields_set} == {
        "decision",
        "tool",
        "command",
    }
    assert all(tool in page for tool in TOOLS)
    limits = told.sandbox_limits()
    assert (limits.longest_seconds, limits.processes, limits.memory_bytes) == (900, 2000, 8 << 30)
    assert (limits.file_bytes, limits.disk_bytes, limits.output_bytes) == (1 << 30, 20 * 10**9, 2 * 10**6)


def test_the_defaults_that_the_docs_name_are_true():
    page = (ROOT / "docs" / "config.md").read_text("utf-8")
    defaults = Limits()

    assert "(4,096)" in page and defaults.processes == 4096
    assert "(2 GiB)" in page and defaults.file_bytes == 2 << 30
    assert "(16 GiB)" in page and defaults.disk_bytes == 16 << 30
    assert "(1 MB)" in page and defaults.output_bytes == 10**6


@pytest.mark.parametrize(
    ("text", "size"),
    [
        ('"2 GiB"', 2 << 30), ('"500 MB"', 500 * 10**6), ('"1.5MiB"', 3 << 19), ("1048576", 1 << 20),
        ('"2048 KiB"', 2 << 20), ('"2000 kB"', 2 * 10**6), ('"1 TB"', 10**12), ('"5000000 B"', 5 * 10**6),
    ],
)  # fmt: skip
def test_sizes(file: Path, text: str, size: int):
    file.write_text(f"[limits]\nmemory = {text}\n")

    assert load().limits.memory == size


WRONG = [
    ("[limits]\nsecs = 3", "limits.secs is no key; allowed are seconds, processes"),
    ("colour = 1", "colour is no key; allowed are limits, approvals"),
    ("limits = 3", "limits = 3 is wrong; allowed is a table"),
    ('[limits]\nseconds = "x"', "a number of seconds above 0"),
    ("[limits]\nseconds = nan", "a number of seconds above 0"),
    ("[limits]\nseconds = 0", "a number of seconds above 0"),
    ("[limits]\nprocesses = true", "limits.processes = True is wrong; allowed is a whole number from 8"),
    ('[limits]\nmemory = "lots"', "limits.memory = 'lots' is wrong; allowed is a size such as"),
    ('[limits]\nmemory = "1 PB"', "a size such as"),
    ('[limits]\nmemory = "٣ GiB"', "a size such as"),
    ("[limits]\nmemory = -1", "a size such as"),
    ("[limits]\ndisk = 1.5", "a size such as"),
    ('[limits]\noutput = "999999999999999 TB"', "a size such as"),
    (
        '[[approvals.rule]]\ntool = "rm"\ndecision = "deny"',
        "rule[0].tool = 'rm' is wrong; allowed is one of read",
    ),
    (
        '[[approvals.rule]]\ntool = "shell"',
        'rule[0].decision is missing; allowed is "allow", "ask" or "deny"',
    ),
    ('[[approvals.rule]]\ndecision = "never"', 'allowed is "allow", "ask" or "deny"'),
    ('[[approvals.rule]]\ndecision = "deny"\ncommand = "a; b"', "without shell syntax"),
    ('[[approvals.rule]]\ndecision = "deny"\ncommand = ""', "without shell syntax"),
    (
        '[[approvals.rule]]\ndecision = "deny"\nwhen = 1',
        "rule[0].when is no key; allowed are decision, tool, command",
    ),
    ("[approvals]\nrule = 3", "approvals.rule = 3 is wrong"),
    ("[approvals]\nrule = [3]", "approvals.rule[0] = 3 is wrong"),
    ("a = ", "is no valid TOML"),
    ("a = " + "[" * 9000, "is no valid TOML"),
]


@pytest.mark.parametrize(("text", "said"), WRONG, ids=[said for _, said in WRONG])
def test_what_is_wrong_is_one_sentence(file: Path, text: str, said: str):
    file.write_text(text)

    with pytest.raises(EnvironmentProblem) as problem:
        load()
    assert said in problem.value.reason and problem.value.reason.startswith(str(file))
    assert "\n" not in problem.value.reason and problem.value.reason.endswith(".")


def test_a_file_that_cannot_be_read(file: Path):
    file.write_bytes(b"\xff\xfe")
    with pytest.raises(EnvironmentProblem, match="no UTF-8"):
        load()
    file.unlink()
    file.mkdir()
    with pytest.raises(EnvironmentProblem, match="cannot be read"):
        load()


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
@given(
    st.one_of(st.binary(), st.text().map(str.encode), st.sampled_from([text.encode() for text, _ in WRONG]))
)
def test_any_file_is_read_or_refused(file: Path, data: bytes):
    file.write_bytes(data)
    with contextlib.suppress(EnvironmentProblem):
        load()


async def test_a_session_keeps_to_it(git_repo: GitRepo, file: Path):
    file.write_text(
        '[limits]\nseconds = 1\noutput = "2 KiB"\n[[approvals.rule]]\ndecision = "deny"\ncommand = "touch"\n'
    )
    repo = git_repo({})
    made = [
        call("shell", command="sleep 30", timeout_seconds=60),
        call("shell", command="seq 1 5000"),
        call("shell", command="true && touch x"),
        say("So."),
    ]
    ran = await run(repo, made)
    slow, long, denied = (message.content for message in ran.told if message.role == "tool")

    assert "stopped at its time limit, after 1." in slow and "bytes left out" in long
    assert "a rule in the user's config denies it" in denied and not (repo / "x").exists()
    assert ran.end.denied == ["shell true && touch x"]


async def test_a_config_of_the_repository_is_none(git_repo: GitRepo):
    wrong = "[limits]\nsecs = 1\n"
    repo = git_repo({"config.toml": wrong, "ostro/config.toml": wrong, ".config/ostro/config.toml": wrong})

    assert (await run(repo, [say("Fine.")])).end.outcome == "done"


@pytest.mark.parametrize("there", [True, False])
def test_a_file_that_is_a_link_into_the_repository_is_refused(git_repo: GitRepo, file: Path, there: bool):
    repo = git_repo({"rules.toml": ""} if there else {})
    file.symlink_to(repo / "rules.toml")
    with pytest.raises(EnvironmentProblem, match="a link into the workspace"):
        load(repo)


async def test_a_wrong_config_ends_a_run_before_it_begins(git_repo: GitRepo, file: Path):
    file.write_text("[limits]\nsecs = 1\n")
    with pytest.raises(EnvironmentProblem, match=r"limits\.secs"):
        await run(git_repo({}), [])


@pytest.mark.parametrize("kind", ["pipe", "folder"])
def test_what_is_no_file_holds_nothing_up(file: Path, kind: str) -> None:
    file.unlink(missing_ok=True)
    os.mkfifo(file) if kind == "pipe" else file.mkdir()
    with pytest.raises(EnvironmentProblem, match="cannot be read \\(it is no file\\)"):
        load()


async def test_a_command_of_fix_that_the_users_limit_stops_is_no_failing_test(git_repo: GitRepo, file: Path):
    file.write_text("[limits]\nseconds = 1\n")
    ran = await run(git_repo({}), [], kind="fix", task=None, command=["sleep", "30"])

    assert (ran.end.outcome, ran.end.exit_code) == ("environment", 3)
    assert ran.end.reason == (
        f"The command did not end within the 1 s that limits.seconds in {file} allows; raise that, or name a "
        "command that takes less."
    )
    assert not [event for event in ran.events if event.type == "model"]


async def test_a_rule_denies_the_model_what_the_user_may_type(git_repo: GitRepo, file: Path):
    file.write_text('[[approvals.rule]]\ndecision = "deny"\ncommand = "test"\n')
    repo = git_repo({})
    ran = await run(repo, [], kind="fix", task=None, command=["test", "-e", "."])
    assert (ran.end.outcome, ran.end.denied) == ("done", [])

    ran = await run(repo, [call("shell", command="test -e ."), say("So.")], verify=["test", "-e", "."])
    assert ran.end.denied == ["shell test -e ."] and ran.end.verified
