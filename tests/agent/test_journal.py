from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from agent.ending import EnvironmentProblem, WrongUsage
from agent.events import Text, ToolOutput, Warn
from agent.journal import Journal, find, new_session_id, read, repository_lock
from agent.secrets import MASK
from engine.request import Message
from tests.agent.running import ROOT
from tests.conftest import GitRepo
from tui.command_line import main


def journal_of(*texts: str) -> Journal:
    journal = Journal.create()
    for text in texts:
        journal.append("event", event={"type": "text", "text": text})
    return journal


def texts(path: Path) -> list[str]:
    return [record["event"]["text"] for record in read(path)]


def test_only_the_user_can_read_it():
    journal = journal_of("a")

    assert journal.path.stat().st_mode & 0o777 == 0o600
    assert journal.path.parent.stat().st_mode & 0o777 == 0o700


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(st.text(max_size=20), min_size=1, max_size=5), st.data())
def test_a_journal_cut_at_any_byte_holds_the_whole_records_before_it(written: list[str], data: st.DataObject):
    journal = journal_of(*written)
    journal.close()
    whole = journal.path.read_bytes()
    cut = data.draw(st.integers(0, len(whole)))
    journal.path.write_bytes(whole[:cut])
    kept = written[: whole[:cut].count(b"\n")]

    assert texts(journal.path) == kept
    again = Journal.reopen(journal.session)
    again.append("event", event={"type": "text", "text": "after"})
    again.close()

    assert texts(journal.path) == [*kept, "after"]


def test_zeros_after_a_power_cut_are_a_torn_line():
    journal = journal_of("a")
    journal.close()
    with journal.path.open("ab") as file:
        file.write(b"\0" * 100 + b"\n" + b"\0" * 7)

    assert texts(journal.path) == ["a"]


def test_damage_in_the_middle_is_named():
    journal = journal_of("a", "b")
    lines = journal.path.read_bytes().split(b"\n")
    journal.path.write_bytes(b"\n".join([b"{oops", *lines[1:]]))

    with pytest.raises(EnvironmentProblem, match="damaged"):
        read(journal.path)


DEEP = b"[" * 100_000
DAMAGED = [
    b"5", b"[]", b"{}", DEEP, b'{"kind":[]}', b'{"kind":"event"}', b'{"kind":"event","event":{}}',
    b'{"kind":"event","event":{"type":"usage"}}', b'{"kind":"event","event":{"type":"end"}}',
    b'{"kind":"message"}', b'{"kind":"message","message":{}}', b'{"kind":"options"}', b'{"kind":"candidate"}',
    b'{"kind":"tree"}', b'{"kind":"undo"}',
    b'{"kind":"undo","step":99,"tree":"x","label":"l","saved":"y","back":77}\n{"kind":"restored"}',
]  # fmt: skip


@pytest.mark.parametrize("line", DAMAGED, ids=range(len(DAMAGED)))
def test_no_damage_is_a_fault(
    git_repo: GitRepo, capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, line: bytes
):
    """Of Ostro's own, that is: exit code 70. Nor does it keep other sessions from being listed and undone."""
    monkeypatch.chdir(git_repo({"a.py": ""}))
    journal = Journal.create()
    journal.append("options", options={"kind": "run", "model": "scripted", "repo": ".", "task": "x"})
    journal.append("tree", tree="0" * 40, label="start")
    journal.close()
    whole = journal.path.read_bytes()
    journal.path.write_bytes(whole + line + b"\n" + b'{"kind":"restored"}\n')

    assert main(["run", "--resume", journal.session, "--max-steps", "1"]) in (2, 3)
    assert main(["undo", journal.session]) in (2, 3)
    assert main(["undo"]) in (2, 3)
    assert main(["sessions", "show", journal.session]) in (0, 3)
    assert main(["sessions", "list"]) == 0
    assert "mistake" not in capfd.readouterr().err
    journal.path.unlink()


def test_text_that_is_not_unicode_survives():
    journal = journal_of("\udc80 and \x00 and \u2028")

    assert texts(journal.path) == ["\udc80 and \x00 and \u2028"]


@pytest.mark.parametrize("session", ["nothing", "../escape", ""])
def test_an_unknown_session_is_wrong_usage(session: str):
    with pytest.raises(WrongUsage, match="no session"):
        find(session)


def test_a_full_disk_is_one_sentence_and_leaves_no_torn_line():
    journal = journal_of("a")
    code = (
        "import resource, sys; from agent.journal import Journal\n"
        "journal = Journal.reopen(sys.argv[1])\n"
        "resource.setrlimit(resource.RLIMIT_FSIZE, (journal.path.stat().st_size + 20,) * 2)\n"
        "import signal; signal.signal(signal.SIGXFSZ, signal.SIG_IGN)\n"
        "journal.append('event', event={'type': 'text', 'text': 'b' * 100})\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, journal.session], capture_output=True, text=True, cwd=ROOT
    )

    assert "EnvironmentProblem" in done.stderr and "cannot be written" in done.stderr
    assert texts(journal.path) == ["a"] and journal.path.read_bytes().endswith(b"\n")


def test_one_session_a_repository(tmp_path: Path):
    with (
        repository_lock(tmp_path, "first"),
        pytest.raises(EnvironmentProblem, match=f"session first, process {os.getpid()}"),
        repository_lock(tmp_path, "second"),
    ):
        pass
    with repository_lock(tmp_path, "third"):
        pass


def test_a_repository_in_another_that_is_worked_in(tmp_path: Path):
    inner, sibling = tmp_path / "outer" / "vendor" / "inner", tmp_path / "outer" / "sibling"
    for repo in (tmp_path / "outer", inner, sibling):
        (repo / ".git").mkdir(parents=True)
    outer = tmp_path / "outer"

    with (
        repository_lock(outer, "one"),
        pytest.raises(EnvironmentProblem, match=f"works in {outer} .session one"),
        repository_lock(inner, "two"),
    ):
        pass
    with (
        repository_lock(inner, "one"),
        repository_lock(sibling, "two"),
        pytest.raises(EnvironmentProblem, match=f"works in {outer} .session two, .*sibling"),
        repository_lock(outer, "three"),
    ):
        pass
    with repository_lock(outer, "four"):
        pass


def test_the_lock_goes_with_its_process(tmp_path: Path):
    code = (
        "import os, sys; from pathlib import Path; from agent.journal import repository_lock\n"
        "with repository_lock(Path(sys.argv[1]), 'x'): print('held', flush=True); os.kill(os.getpid(), 9)"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, str(tmp_path)], capture_output=True, text=True, cwd=ROOT
    )
    assert done.stdout == "held\n"

    with repository_lock(tmp_path, "next"):
        pass


def test_session_ids_sort_and_differ():
    assert len({new_session_id() for _ in range(50)}) == 50
    made = []
    for _ in range(20):
        made.append(new_session_id())
        time.sleep(0.001)
    assert sorted(made) == made


def test_every_record_is_one_json_line():
    journal = journal_of("a\nb", "c\r")

    for line in journal.path.read_text("utf-8").removesuffix("\n").split("\n"):
        assert json.loads(line)["kind"] == "event"


SECRET = "ghp_" + "a1B2" * 9
SAID = f"The token is {SECRET}."


def test_secrets_are_masked_in_every_record():
    journal = Journal.create()
    journal.append("fault", traceback=SAID)
    journal.append("event", event={"type": "tool_call", "arguments": {"id": SECRET, SECRET: [SECRET]}})
    journal.append("options", options={"repo": "/r", "command": ["curl", SECRET]})
    journal.close()

    assert SECRET not in journal.path.read_text("utf-8") and SECRET[:20] not in journal.path.read_text(
        "utf-8"
    )
    assert read(journal.path)[0]["traceback"] == f"The token is {MASK}."
    assert read(journal.path)[2]["options"] == {"repo": "/r", "command": ["curl", MASK]}


@pytest.mark.parametrize("kind", ["repository", "before"])
def test_what_is_compared_later_is_kept_to_the_letter(kind: str):
    name = f"ghp_{'a' * 36}"
    journal = Journal.create()
    journal.append(kind, uncommitted=[name], refs={f"refs/heads/{name}": name})

    assert journal.records() == [{"kind": kind, "uncommitted": [name], "refs": {f"refs/heads/{name}": name}}]


def test_a_message_with_a_secret_loses_the_token_ids_that_spell_it():
    journal = Journal.create()
    for text in ("Nothing to hide.", SAID):
        journal.append(
            "message", message=Message(role="assistant", content=text, token_ids=tuple(map(ord, text)))
        )
    plain, secret = [Message.model_validate(record["message"]) for record in read(journal.path)]

    assert plain.token_ids == tuple(map(ord, "Nothing to hide."))
    assert (secret.content, secret.token_ids) == (f"The token is {MASK}.", None)


def test_a_secret_that_streams_in_pieces_is_masked():
    journal = Journal.create()
    for piece in SAID:
        journal.append_event(Text(text=piece))
    journal.append_event(ToolOutput(id="a", text=SECRET[:9]))
    journal.append_event(ToolOutput(id="b", text=SECRET[9:]))
    journal.append_event(Warn(text="over"))

    events = [record["event"] for record in read(journal.path)]
    assert [event["type"] for event in events] == ["text"] * len(SAID) + ["tool_output"] * 2 + ["warning"]
    assert "".join(event["text"] for event in events if event["type"] == "text") == f"The token is {MASK}."


def test_what_streams_is_written_when_the_journal_closes():
    journal = Journal.create()
    journal.append_event(Text(text="half an ans"))
    journal.close()

    assert texts(journal.path) == ["half an ans"]
