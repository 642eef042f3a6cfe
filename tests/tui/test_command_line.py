"""The real command line with bad input: the exit code, one sentence, and with --json exactly one `end`."""

from __future__ import annotations

import errno
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from agent.journal import Journal
from engine.catalogue import CATALOGUE
from engine.request import Message
from tests.agent.running import ROOT
from tests.conftest import GitRepo
from tui.command_line import main


def ostro(
    *words: str, cwd: Path = ROOT, stdin: str = "", **environment: str
) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, str(ROOT / "ostro.py"), *words],
        cwd=cwd, input=stdin, capture_output=True, text=True, timeout=60, env=os.environ | environment,
    )  # fmt: skip


def one_sentence(done: subprocess.CompletedProcess[str]) -> str:
    assert "Traceback" not in done.stderr
    lines = done.stderr.splitlines()
    assert len(lines) == 1 and lines[0].startswith("ostro: ") and lines[0].endswith("."), done.stderr
    return lines[0]


WRONG_USAGE = [
    (["frobnicate"], "frobnicate"),
    (["run"], "no task"),
    (["run", ""], "empty"),
    (["run", "  \n"], "empty"),
    (["run", "a", "b"], "Unrecognized arguments: b; see `ostro run --help`"),
    (["run", "--max-steps", "0", "x"], "--max-steps"),
    (["run", "--max-steps", "²", "x"], "--max-steps"),
    (["run", "--time-limit", "nan", "x"], "--time-limit"),
    (["run", "--seed", "x", "x"], "--seed: 'x' is not a whole number of at most 18 digits; see"),
    (["run", "--seed", "9" * 19, "x"], "whole number"),
    (["models", "convert", "x", "--bits", "5"], "--bits: '5' is not 4, 8 or 16; see"),
    (["run", "--effort", "medium", "x"], "none"),
    (["run", "--image", "", "x"], "name of the file is empty"),
    (["run", "--resume", "x", "--image", "a.png"], "leave --image out"),
    (["fix", "--resume", "x", "--image", "a.png"], "leave --image out"),
    (["run", "--memory", "16", "x"], "'16' is no size; write one such as 16GB"),
    (["run", "--memory", "", "x"], "no size"),
    (["run", "--memory=-1GB", "x"], "no size"),
    (["run", "--memory", "16gb", "x"], "no size"),
    (["run", "--memory", "0GB", "x"], "from 1 MiB"),
    (["fix", "--memory", "99999TB", "--", "x"], "from 1 MiB"),
    (["models", "fit", "--memory", "much"], "no size"),
    (["--memory", "1 byte"], "no size"),
    (["run", "--verify", "", "x"], "--verify"),
    (["run", "--verify", "echo 'open", "x"], "quot"),
    (["run", "--ver", "true", "x"], "--ver"),
    (["run", "--no-such-option", "x"], "--no-such-option"),
    (["run", "--resume", "nothing"], "no session"),
    (["run", "--resume", "../../etc"], "no session"),
    (["run", "--resume", "a" * 300], "no session"),
    (["run", "--resume", "x", "task"], "leave TASK out"),
    (["run", "--allow-network", "", "x"], "HOST or HOST:PORT"),
    (["run", "--allow-network", "https://pypi.org/simple", "x"], "leave out"),
    (["run", "--allow-network", "pypi.org:99999", "x"], "65535"),
    (["run", "--allow-network", "127.0.0.1", "x"], "127.0.0.1:PORT"),
    (["fix"], "ostro fix -- python"),
    (["fix", "--"], "no command"),
    (["fix", "pytest", "-x"], "ostro fix -- pytest -x"),
    (["fix", "--verify", "x", "--", "true"], "--verify"),
    (["models"], "list|pull|show"),
    (["models", "fi"], "fi"),
    (["sessions", "show", "nothing"], "no session"),
    (["trust", "--list", "x"], "leave it out"),
    (["trust", "--list", "--remove"], "--remove"),
    (["--frobnicate"], "--frobnicate"),
    ([], "terminal"),
]


@pytest.mark.parametrize(
    ("words", "said"), WRONG_USAGE, ids=[" ".join(words) or "bare" for words, _ in WRONG_USAGE]
)
def test_wrong_usage(words: list[str], said: str, capsys: pytest.CaptureFixture[str]):
    assert main(words) == 2
    out, err = capsys.readouterr()
    assert out == "" and said in err and err.startswith("ostro: ") and err.count("\n") == 1


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["run", "x", "--max-steps"], "is not a whole number above 0, of at most 18 digits; see"),
        (["run", "x", "--seed"], "is not a whole number of at most 18 digits; see"),
        (["run", "x", "--time-limit"], "is not a number of seconds above 0; see"),
        (["run", "x", "--memory"], "is no size; write one"),
        (["undo", "--to"], "is not the number of a checkpoint; see"),
    ],
    ids=lambda each: each[-1] if isinstance(each, list) else "",
)
def test_a_number_without_end(words: list[str], said: str, capsys: pytest.CaptureFixture[str]):
    """Longer than Python reads one."""
    assert main([*words, "9" * 5000]) == 2
    err = capsys.readouterr().err
    assert said in err and "999…'" in err and len(err) < 200


@pytest.mark.parametrize(
    ("words", "stdin", "code", "said"),
    [
        (["run", "-"], "  ", 2, "empty"),
        (["run", "do it", "--model", "gpt-17"], "", 3, "gpt-17"),
        (["run", "do it", "--verify", "no-such-program --flag"], "", 3, "no-such-program"),
        (["fix", "--", "no-such-program"], "", 3, "no-such-program"),
        (["run", "do it", "--repo", "missing"], "", 3, "missing"),
        (["run", "do it", "--image", "missing.png"], "", 2, "missing.png"),
        (["fix", "--image", "/dev/null", "--", "false"], "", 2, "/dev/null cannot be read (it is no file)"),
        (["run", "do it", "--allow-network", "pypi.org", "--unsafe-no-sandbox"], "", 2, "has no use"),
    ],
)
def test_bad_input_still_gives_one_end(git_repo: GitRepo, words: list[str], stdin: str, code: int, said: str):
    repo = git_repo({"a.py": "x = 1\n"})
    options = [words[0], "--json", *words[1:]]
    done = ostro(*options, cwd=repo, stdin=stdin)

    assert done.returncode == code
    assert said in one_sentence(done)
    events = [json.loads(line) for line in done.stdout.splitlines()]
    assert [event["type"] for event in events].count("end") == 1 and events[-1]["type"] == "end"
    assert events[-1]["exit_code"] == code and said in events[-1]["reason"]


def test_not_a_git_repository(tmp_path: Path):
    done = ostro("run", "do it", cwd=tmp_path)

    assert (done.returncode, done.stdout) == (3, "")
    assert "git repository" in one_sentence(done)


def test_no_sandbox(git_repo: GitRepo):
    code = (
        "import sys, sandbox.box as b; b.candidates = lambda *where: []; b.landlock_version = lambda: 0\n"
        "from tui.command_line import main; sys.exit(main(sys.argv[1:]))"
    )
    argv = [sys.executable, "-c", code, "run", "do it", "--repo", str(git_repo({}))]
    done = subprocess.run(argv, cwd=ROOT, capture_output=True, text=True)

    assert done.returncode == 3 and "--unsafe-no-sandbox" in one_sentence(done)


def test_a_truncated_model(git_repo: GitRepo, tmp_path: Path):
    (tmp_path / "cut.gguf").write_bytes(b"GGUF\x03\x00\x00\x00\x01")
    done = ostro("run", "do it", "--model", str(tmp_path / "cut.gguf"), cwd=git_repo({}))

    assert done.returncode == 3 and "cut.gguf" in one_sentence(done)


def test_a_passing_command_is_done_without_a_model(git_repo: GitRepo, tmp_path: Path):
    done = ostro("fix", "--json", "--", "true", cwd=git_repo({}), XDG_CACHE_HOME=str(tmp_path))

    end = json.loads(done.stdout.splitlines()[-1])
    assert (done.returncode, end["outcome"], end["verified"]) == (0, "done", True)
    assert '"model"' not in done.stdout


def test_a_model_that_was_named_has_to_be_there(git_repo: GitRepo):
    done = ostro("fix", "--model", "none-such", "--", "true", cwd=git_repo({}))

    assert done.returncode == 3 and "none-such" in one_sentence(done)


def test_the_command_of_fix_may_hold_options(git_repo: GitRepo):
    done = ostro("fix", "--json", "--", "sh", "-c", 'test "$0" = --json', "--json", cwd=git_repo({}))

    assert done.returncode == 0 and json.loads(done.stdout.splitlines()[0])["command"][-1] == "--json"


def test_help_is_light_and_names_what_is_there():
    light = (
        "import sys; from tui.command_line import main\n"
        "try: main(['run', '--help'])\n"
        "except SystemExit: pass\n"
        "main(['run', '--json', '--model', 'none-such', 'x', '--repo', '/'])\n"
        "heavy = {'torch', 'textual', 'transformers', 'numpy', 'rich'} & set(sys.modules)\n"
        "assert not heavy, heavy"
    )
    done = subprocess.run([sys.executable, "-c", light], cwd=ROOT, capture_output=True, text=True)

    assert done.returncode == 0, done.stderr
    for option in ("--verify", "--resume", "--json", "--output-dir", "exit codes"):
        assert option in done.stdout
    assert "--capture" not in done.stdout, "what is not delivered is absent"


def test_sessions_are_listed_and_shown(git_repo: GitRepo):
    ran = ostro("fix", "--json", "--", "true", cwd=git_repo({}))
    session = json.loads(ran.stdout.splitlines()[0])["session"]

    listed = [json.loads(line) for line in ostro("sessions", "list", "--json").stdout.splitlines()]
    assert {"session": session, "task": "true", "outcome": "done"}.items() <= listed[-1].items()
    header, *lines = ostro("sessions", "list").stdout.splitlines()
    assert header.split() == ["SESSION", "OUTCOME", "REPOSITORY", "TASK"]
    [line] = [line for line in lines if line.startswith(session)]
    assert line.index("done") == header.index("OUTCOME") and line.endswith("  true")
    assert ostro("sessions", "show", session, "--json").stdout == ran.stdout
    assert "done, verified" in ostro("sessions", "show", session).stdout


def test_a_conversation_is_listed_by_what_was_asked_first(capfd: pytest.CaptureFixture[str]):
    journal = Journal.create()
    journal.append("options", options={"kind": "session", "repo": "/r", "task": None, "command": None})
    journal.append("message", message=Message(role="system", content="Rules."))
    journal.append("message", message=Message(role="user", content="Tidy up\nthe parser.\n\nThe file a.py"))
    journal.append("message", message=Message(role="user", content="And now this."))
    journal.close()

    assert main(["sessions", "list", "--json"]) == 0
    listed = [json.loads(line) for line in capfd.readouterr().out.splitlines()]
    assert {"session": journal.session, "task": "Tidy up the parser."}.items() <= listed[-1].items()
    journal.path.unlink()


def test_undo_of_a_run_that_changed_nothing_says_that(git_repo: GitRepo):
    repo = git_repo({})
    assert ostro("fix", "--", "true", cwd=repo).returncode == 0
    done = ostro("undo", cwd=repo)

    assert done.returncode == 2 and "changed no file, so there is nothing to undo" in one_sentence(done)


def test_events_of_another_version_are_passed_over(capfd: pytest.CaptureFixture[str]):
    journal = Journal.create()
    journal.append("event", event={"type": "warning", "text": "Known."})
    journal.append("event", event={"type": "of the future", "v": 2})
    journal.close()

    for more in ([], ["--json"]):
        assert main(["sessions", "show", journal.session, *more]) == 0
        out, err = capfd.readouterr()
        assert "Known." in out and err.startswith("ostro: Left out, because another version") and "1" in err
    journal.path.unlink()


def test_models_are_listed():
    rows = [json.loads(line) for line in ostro("models", "list", "--json").stdout.splitlines()]

    assert [row["name"] for row in rows] == list(CATALOGUE)
    assert [row["default"] for row in rows].count(True) == 1
    assert "(default)" in ostro("models", "list").stdout


@pytest.mark.parametrize("verb", ["pull", "show"])
def test_a_model_nobody_knows(verb: str):
    done = ostro("models", verb, "gpt-17")

    assert done.returncode == 3 and "gpt-17" in one_sentence(done)


def test_doctor_tries_what_it_reports():
    done = ostro("doctor", "--json")
    findings = {finding["name"]: finding for finding in json.loads(done.stdout)}

    assert findings["python"]["ok"] and findings["git"]["ok"]
    assert findings["sandbox"]["ok"] and "bubblewrap" in findings["sandbox"]["detail"]
    assert done.returncode == (0 if findings["models"]["ok"] else 3)
    [sandbox] = [finding for finding in json.loads(done.stdout) if finding["name"] == "sandbox"]
    shown = ostro("doctor").stdout
    assert sandbox["enforced"] and sandbox["not_enforced"]
    assert all(f"+ {words}\n" in shown for words in sandbox["enforced"])
    assert all(f"- not enforced: {words}\n" in shown for words in sandbox["not_enforced"])


@pytest.mark.parametrize("entry", ["{repo}/bin", "bin", "."])
def test_doctor_does_not_run_the_git_that_a_repository_brings(
    git_repo: GitRepo, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, entry: str
):
    program = f"#!/bin/sh\ntouch {tmp_path}/ran\necho git version 9\n"
    repo = git_repo({"bin/git": program, "bin/sub/x": ""})
    (repo / "bin" / "git").chmod(0o755)
    (repo / "git").symlink_to("bin/git")
    monkeypatch.setenv("PATH", f"{entry.format(repo=repo)}:{os.environ['PATH']}")
    for folder in (repo, repo / "bin" / "sub"):
        done = ostro("doctor", "--json", cwd=folder)
        git = next(finding for finding in json.loads(done.stdout) if finding["name"] == "git")
        assert git["ok"] and "git version 9" not in git["detail"]

    assert not (tmp_path / "ran").exists()


def test_a_full_disk_is_no_fault_of_our_own(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
):
    def fail(as_json: bool) -> int:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), "/state/x")

    monkeypatch.setattr("tui.models.list_models", fail)

    assert main(["models", "list"]) == 3
    err = capsys.readouterr().err
    assert err == "ostro: /state/x cannot be written (No space left on device); make room and try again.\n"


def test_a_fault_of_our_own_is_one_sentence(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
):
    monkeypatch.setattr("tui.models.list_models", lambda as_json: 1 / 0)

    assert main(["models", "list"]) == 70
    err = capsys.readouterr().err
    place = err.split("; ")[1].split(" holds")[0]
    assert err.count("\n") == 1 and "ZeroDivisionError" in Path(place).read_text()


def test_a_closed_pipe_is_no_traceback():
    done = subprocess.run(
        f"{sys.executable} {ROOT / 'ostro.py'} models list | true", shell=True, capture_output=True, text=True
    )
    assert "Traceback" not in done.stderr and "Exception" not in done.stderr


def test_the_doctor_looks_at_the_settings(git_repo: GitRepo, tmp_path: Path) -> None:
    (tmp_path / "ostro").mkdir()
    (tmp_path / "ostro" / "config.toml").write_text("[limits]\nfoo = 1\n")
    repo = git_repo({})
    done = ostro("doctor", "--json", cwd=repo, XDG_CONFIG_HOME=str(tmp_path))
    settings = next(finding for finding in json.loads(done.stdout) if finding["name"] == "settings")
    assert done.returncode == 3 and not settings["ok"] and "limits.foo is no key" in settings["detail"]
    shown = ostro("doctor", cwd=repo, XDG_CONFIG_HOME=str(tmp_path)).stdout
    [line] = [line for line in shown.splitlines() if " settings " in line]
    assert line.startswith("broken ") and settings["broken"], "it is there, so it is not missing"


@pytest.mark.parametrize("words", [("fix", "--output-dir", "", "--", "true"), ("fix", "--", "")])
def test_empty_words_are_wrong_usage(git_repo: GitRepo, words: tuple[str, ...]) -> None:
    done = ostro(*words, cwd=git_repo({}))
    assert done.returncode == 2 and "is empty" in done.stderr


@pytest.mark.parametrize(
    "words",
    [["run", "--repo", "a" * 300, "x"], ["trust", "a" * 300], ["run", "--output-dir", "a" * 300, "x"]],
)
def test_a_name_that_is_too_long_is_no_fault(git_repo: GitRepo, words: list[str]):
    done = ostro(*words, cwd=git_repo({}))
    assert done.returncode == 3 and "a" * 300 in one_sentence(done)
