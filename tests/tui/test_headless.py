from __future__ import annotations

import io
import json
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from agent import events
from agent.options import RunOptions
from tests.agent.running import ROOT
from tests.conftest import GitRepo
from tests.scripted_engine import Answer, ScriptedEngine, call, malformed, say
from tests.tui.golden_files import check, normal_json, normal_text
from tools import OutputStore
from tools.plain_text import plain
from tui.blocks import block_for
from tui.headless import run_headless
from tui.printer import TextPrinter, differing, sandbox_lines, summary, wants_colour

BROKEN = {
    "sums.py": "def add(a, b):\n    return a - b\n",
    "check.py": "import sums\nif sums.add(2, 2) != 4:\n    raise SystemExit('add is wrong')\n",
}
ANSWERS = [
    say("It is correct.", thinking="Looks fine."),
    malformed("edit", '{"path": "sums.py",', "the JSON ends at line 1 column 20"),
    call("edit", text="I see.", path="sums.py", old="a - b", new="a + b"),
    say("Now it adds."),
]


def headless(
    repo: Path, answers: list[Answer], *, as_json: bool, output_dir: Path | None = None, **told: Any
) -> int:
    engine = ScriptedEngine(answers)

    async def open_engine() -> ScriptedEngine:
        return engine

    given: dict[str, Any] = {"kind": "run", "task": "Correct it.", "model": "scripted", **told}
    options = RunOptions(repo=repo, **given)
    return run_headless(options, as_json=as_json, output_dir=output_dir, engine=open_engine)


def test_json_lines_are_the_contract(git_repo: GitRepo, capfd: pytest.CaptureFixture[str]):
    code = headless(git_repo(BROKEN), ANSWERS, as_json=True, verify=["python3", "check.py"])
    out, err = capfd.readouterr()

    assert (code, err) == (0, "")
    parsed = [events.EVENT.validate_json(line) for line in out.splitlines()]
    assert [event.type for event in parsed].count("end") == 1 and parsed[-1].type == "end"
    check("run.jsonl", normal_json(out))


def test_text_for_a_reader(git_repo: GitRepo, capfd: pytest.CaptureFixture[str]):
    repo = git_repo(BROKEN)
    code = headless(repo, ANSWERS, as_json=False, verify=["python3", "check.py"])
    out, err = capfd.readouterr()

    assert (code, err) == (0, "")
    check("run.txt", normal_text(out, repo))


def test_the_patch_of_the_output_folder_applies(
    git_repo: GitRepo, tmp_path: Path, capfd: pytest.CaptureFixture[str]
):
    repo = git_repo(BROKEN)
    headless(repo, ANSWERS, as_json=True, output_dir=tmp_path / "out", verify=["python3", "check.py"])
    out, _ = capfd.readouterr()

    folder = tmp_path / "out"
    assert (folder / "events.jsonl").read_text("utf-8") == out
    assert json.loads((folder / "result.json").read_text()) == json.loads(out.splitlines()[-1])
    subprocess.run(["git", "-C", str(repo), "checkout", "--quiet", "."], check=True)
    subprocess.run(["git", "-C", str(repo), "apply", str(folder / "patch.diff")], check=True)
    assert "a + b" in (repo / "sums.py").read_text()


def test_an_output_folder_in_the_repository_is_no_part_of_the_patch(
    git_repo: GitRepo, capfd: pytest.CaptureFixture[str]
):
    repo = git_repo(BROKEN)
    headless(repo, [say("Nothing to do.")], as_json=True, output_dir=repo / "out")
    end = json.loads(capfd.readouterr().out.splitlines()[-1])

    assert end["changed_files"] == [] and (repo / "out" / "result.json").exists()


def test_an_output_folder_that_cannot_be_made(git_repo: GitRepo, capfd: pytest.CaptureFixture[str]):
    repo = git_repo(BROKEN)
    code = headless(repo, [], as_json=True, output_dir=repo / "sums.py" / "out")
    out, err = capfd.readouterr()

    assert code == 3 and f"{repo}/sums.py is a file; name a folder" in err and "--output-dir" in err
    assert [json.loads(line)["type"] for line in out.splitlines()] == ["end"]


def test_bytes_that_are_no_text_are_still_json(git_repo: GitRepo, capfdbinary: pytest.CaptureFixture[bytes]):
    repo = git_repo({"latin.txt": b"caf\xe9\n"})
    change = call("shell", command="printf 'th\\351\\n' > latin.txt")
    headless(repo, [change, say("Done \u2028 \ud800.")], as_json=True, output_dir=repo.parent / "out")
    out = capfdbinary.readouterr().out

    end = json.loads(out.splitlines()[-1])
    assert end["changed_files"] == ["latin.txt"]
    subprocess.run(["git", "-C", str(repo), "checkout", "--quiet", "."], check=True)
    subprocess.run(["git", "-C", str(repo), "apply", str(repo.parent / "out" / "patch.diff")], check=True)
    assert (repo / "latin.txt").read_bytes() == b"th\xe9\n"


def test_escapes_of_model_and_tools_do_not_reach_the_terminal(
    git_repo: GitRepo, capfd: pytest.CaptureFixture[str]
):
    answers = [
        say("\x1b]0;title\x07\x1b[2Jwords\x1b[31m"),
        call("shell", command="printf '\\033[31mred\\033[0m \\033]52;c;aGk=\\007'"),
        say("x"),
    ]
    answers[0] = Answer(text=answers[0].text, calls=answers[1].calls)
    headless(git_repo({}), [answers[0], answers[2]], as_json=False)

    assert "\x1b" not in capfd.readouterr().out


def test_what_a_weaker_sandbox_does_not_enforce_is_printed(
    git_repo: GitRepo, capfd: pytest.CaptureFixture[str]
):
    headless(git_repo({}), [say("Done.")], as_json=False, unsafe=True)
    out = capfd.readouterr().out

    assert out.splitlines()[1:3] == [
        "no sandbox",
        "  not enforced: commands can read and change every file that the user can",
    ]
    assert out.count("not enforced: ") == 3


def test_sandboxes_in_words():
    named = {"mechanism": "bubblewrap", "not_enforced": ["this", "that"]}
    assert sandbox_lines({**named, "tier": "A", "network": ["pypi.org"]}) == [
        "sandbox: tier A (bubblewrap); network: pypi.org; `ostro doctor` says what that enforces, what not"
    ]
    assert sandbox_lines({**named, "tier": "B"}) == [
        "sandbox: tier B (bubblewrap)", "not enforced: this", "not enforced: that"
    ]  # fmt: skip
    start = events.Start(session="s", repo="/r", version="1", sandbox={**named, "tier": "C"})
    assert block_for(start) == (
        "ostro 1 · /r\nsandbox: tier C (bubblewrap)\nnot enforced: this\nnot enforced: that", "note"
    )  # fmt: skip


EVIL = "\x1b]0;title\x07\x1b[2J\x9b31m\u202eevil\r"
OUTSIDE = [
    events.Start(
        session=EVIL,
        repo=EVIL,
        task=EVIL,
        version="1",
        sandbox={"mechanism": EVIL, "tier": EVIL, "not_enforced": [EVIL], "network": [EVIL]},
    ),
    events.Model(ref=EVIL, family=EVIL, context=1, state="loading"),
    events.Model(ref=EVIL, family=EVIL, context=1, state="ready"),
    events.EffortChange(effort="high", reasons=[EVIL]),
    events.Thinking(text=EVIL),
    events.Text(text=EVIL),
    events.ToolCallEvent(id="1", name=EVIL, arguments={EVIL: EVIL}),
    events.ToolCallEvent(id="1", name="x", arguments=EVIL),
    events.ToolResultEvent(id="1", ok=False, text=EVIL, seconds=1),
    events.Approval(id="1", what=EVIL, decision="denied"),
    events.Candidate(n=1, file=EVIL, line=1, before=EVIL, after=EVIL, verdict="broken"),
    events.Verify(command=[EVIL], exit_code=1, seconds=1, passed=False, failing=[EVIL]),
    events.Verify(command=[EVIL], exit_code=1, seconds=1, passed=False, tail=EVIL),
    events.Verify(command=[EVIL], exit_code=0, seconds=1, passed=True),
    events.Warn(text=EVIL),
    events.End(outcome="unsolved", reason=EVIL, verified=True, patch=EVIL, changed_files=[EVIL], exit_code=1),
]


@pytest.mark.parametrize("event", OUTSIDE, ids=lambda event: event.type)
def test_no_event_brings_an_escape_to_a_face(event: events.AnyEvent):
    stream = io.StringIO()
    printer = TextPrinter(stream, colour=False)
    for shown in (OUTSIDE[0], event, OUTSIDE[-1]):
        printer.show(shown)
    text, _ = block_for(event) or ("", "")

    assert "evil" in stream.getvalue()
    for written in (stream.getvalue(), text):
        assert plain(written) == written


def test_an_output_that_cannot_be_kept_is_no_fault(
    git_repo: GitRepo, capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
):
    opened = OutputStore.__init__

    def on_a_full_disk(store: OutputStore, folder: Path, **options: Any) -> None:
        opened(store, folder, **options)
        (folder / "o1.txt").symlink_to("/dev/full")

    monkeypatch.setattr(OutputStore, "__init__", on_a_full_disk)
    answers = [call("shell", command="seq 1 20000"), say("Done.")]
    code = headless(git_repo({}), answers, as_json=True)
    out, err = capfd.readouterr()

    assert (code, json.loads(out.splitlines()[-1])["outcome"]) == (3, "environment")
    assert "No space left on device" in err and err.count("\n") == 1


PYTEST = ["pytest", "-q"]
PATCH = "--- a/a.py\n+++ b/a.py\n@@ -3 +3 @@\n-x < 1\n+x > 1\n"


def candidate(n: int, after: str, verdict: str, **counts: int) -> events.Candidate:
    told = {"n": n, "file": "a.py", "line": 3, "before": "x < 1", "after": after, "verdict": verdict}
    return events.Candidate.model_validate({**told, **counts})


def candidates() -> list[events.AnyEvent]:
    return [
        events.Start(session="20260101-000000-abcdef", repo="/r", command=PYTEST, version="1", sandbox={}),
        events.Verify(command=PYTEST, exit_code=1, seconds=2, passed=False, failing=["t.py::test_a"]),
        events.Step(step=1, phase="search"),
        events.Progress(phase="loading", seconds=10.0, candidates=0, read=0, written=0),
        candidate(1, "x <= 1", "failed", passed=3, failed=1),
        candidate(2, "x 1", "broken"),
        events.Progress(phase="search", seconds=20.4, candidates=2, read=1234, written=1),
        candidate(3, "x > 1", "passed", passed=4, failed=0),
        events.Verify(command=PYTEST, exit_code=0, seconds=2, passed=True),
        events.End(outcome="done", verified=True, steps=1, seconds=9, changed_files=["a.py"], patch=PATCH),
    ]


@pytest.mark.parametrize(("colour", "name"), [(False, "fix.txt"), (True, "fix_colour.txt")])
def test_candidates_patch_and_green_tests(colour: bool, name: str):
    stream = io.StringIO()
    printer = TextPrinter(stream, colour=colour)
    for event in candidates():
        printer.show(event)

    check(name, stream.getvalue())


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def test_colours_only_where_they_are_wanted(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.delenv("NO_COLOR", raising=False)
    assert wants_colour(Terminal()) and not wants_colour(io.StringIO())
    monkeypatch.setenv("NO_COLOR", "1")
    assert not wants_colour(Terminal())


GOES_AWAY = """
import sys
from pathlib import Path
from agent.options import RunOptions
from tests.scripted_engine import ScriptedEngine, call
from tui.headless import run_headless

async def open_engine():
    return ScriptedEngine([call("shell", command="sleep 60")])

options = RunOptions(kind="run", task="Wait.", model="scripted", repo=Path(sys.argv[1]))
sys.exit(run_headless(options, as_json=sys.argv[2] == "json", engine=open_engine))
"""


@pytest.mark.parametrize("form", ["json", "text"])
def test_a_reader_that_goes_away_ends_the_run(git_repo: GitRepo, form: str):
    argv = [sys.executable, "-c", GOES_AWAY, str(git_repo({})), form]
    process = subprocess.Popen(argv, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    assert process.stdout and process.stdout.readline()
    process.stdout.close()

    assert process.wait(30) == 130
    assert process.stderr and b"Traceback" not in process.stderr.read()


@pytest.mark.parametrize(("name", "code"), [("SIGINT", 130), ("SIGTERM", 143)])
def test_signals_end_the_run_in_order(git_repo: GitRepo, name: str, code: int):
    argv = [sys.executable, "-c", GOES_AWAY, str(git_repo({})), "json"]
    process = subprocess.Popen(argv, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    assert process.stdout
    while b'"tool_call"' not in process.stdout.readline():
        pass
    process.send_signal(signal.Signals[name])
    out, err = process.communicate(timeout=30)

    end = json.loads(out.splitlines()[-1])
    assert (process.returncode, end["exit_code"], end["outcome"]) == (code, code, "interrupted")
    assert err.decode().startswith("ostro: ") and err.count(b"\n") == 1


@pytest.mark.parametrize("as_json", [True, False])
def test_what_ended_a_run_is_on_standard_error_and_done_is_not(
    git_repo: GitRepo, capfd: pytest.CaptureFixture[str], as_json: bool
):
    change = call("write", path="a.txt", content="x\n")
    assert headless(git_repo({}), [change], as_json=as_json, max_steps=1) == 1
    out, err = capfd.readouterr()
    assert err.startswith("ostro: The limit of 1 step was reached") and err.count("\n") == 1
    assert "`ostro undo " in err and "`ostro run --resume " in err
    assert as_json or out.splitlines()[-1].startswith("limit: 1 file changed, 1 step, ")


def test_a_commit_is_told_with_the_report(
    git_repo: GitRepo, capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
):
    """Nothing went wrong, so standard error has nothing to say."""
    (tmp_path / "gitconfig").write_text("[user]\n\tname = Ada\n\temail = ada@example.org\n")
    monkeypatch.setenv("GIT_CONFIG_GLOBAL", str(tmp_path / "gitconfig"))
    repo = git_repo({})
    for number, as_json in enumerate([True, False]):
        change = call("write", path=f"{number}.txt", content="x\n")
        assert headless(repo, [change, say("Done.")], as_json=as_json, commit=True) == 0
        out, err = capfd.readouterr()
        assert err == "" and "Committed as " in out.splitlines()[-1]


def test_a_recorded_run_is_shown_with_its_reason():
    """A run has said it on standard error; of one that is shown again nothing else does."""
    shown = {True: "", False: ""}
    for reasons in shown:
        stream = io.StringIO()
        printer = TextPrinter(stream, colour=False, reasons=reasons)
        printer.show(events.Start(session="s", repo="/r", version="1", sandbox={}))
        printer.show(events.End(outcome="limit", verified=False, reason="It took too long.", exit_code=1))
        shown[reasons] = stream.getvalue()

    assert "too long" in shown[True] and "too long" not in shown[False]
    assert shown[False].splitlines()[-1] == "limit, not verified: no file changed, 0 steps, 0.0 s."


def test_a_refused_commit_is_no_contradiction():
    told: dict[str, Any] = {"outcome": "environment", "exit_code": 3, "reason": "Done, but not committed: x."}
    assert summary(events.End(verified=True, **told)).startswith("environment, though the command passes: ")
    assert summary(events.End(verified=None, **told)).startswith("environment: ")


def test_a_change_is_shown_where_it_is():
    long = "    total = sum(price {} quantity for price, quantity in self.items.values() if quantity)"
    shown = differing(long.format("+"), long.format("*"), 40)

    assert shown == ("…sum(price + quantity for price, quanti…", "…sum(price * quantity for price, quanti…")
    assert differing("a = 1", "a = 2", 40) == ("a = 1", "a = 2")
    assert differing("", "import os", 40) == ("nothing", "import os")
    assert max(map(len, differing("x" * 99, "x" * 50 + "y" * 99, 40))) <= 40
