"""The network as a run records it: every connection in the journal, one warning for each host denied."""

from __future__ import annotations

import pytest

from agent import events
from agent.ending import WrongUsage
from tests.agent.running import PYTHON, run
from tests.conftest import GitRepo
from tests.sandbox.proxying import origin
from tests.scripted_engine import call, say

FETCH = "import sys, urllib.request as r; print(r.urlopen(sys.argv[1], timeout=20).read().decode())"


@pytest.fixture(autouse=True)
def direct(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whoever runs the tests may sit behind a proxy."""
    for name in ("HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY", "NO_PROXY"):
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.lower(), raising=False)


async def test_connections_are_recorded_and_denials_told_once(git_repo: GitRepo):
    repo = git_repo({"fetch.py": FETCH})
    with origin() as web:
        allowed, denied = f"http://127.0.0.1:{web.port}/x", "http://evil.example/"
        shell = [call("shell", command=f"{PYTHON} fetch.py {url}") for url in (allowed, denied, denied)]
        ran = await run(repo, [*shell, say("Done.")], allow_network=(f"127.0.0.1:{web.port}",))

    assert ran.of(events.Start)[0].sandbox["network"] == [f"127.0.0.1:{web.port}"]
    recorded = [record for record in ran.records if record["kind"] == "connection"]
    assert [(r["host"], r["port"], r["allowed"]) for r in recorded] == [
        ("127.0.0.1", web.port, True), ("evil.example", 80, False), ("evil.example", 80, False),
    ]  # fmt: skip
    assert recorded[0]["address"] == "127.0.0.1" and recorded[0]["bytes_down"] > 0
    warnings = [event.text for event in ran.of(events.Warn) if "evil.example" in event.text]
    assert len(warnings) == 1 and "--allow-network evil.example:80 would allow it" in warnings[0]
    assert ran.records[-1]["event"]["type"] == "end"


async def test_it_goes_on_with_a_resumed_session(git_repo: GitRepo):
    repo = git_repo({"a.txt": ""})
    first = await run(repo, [say("Done.")], allow_network=("pypi.org",))
    second = await run(repo, [say("Done.")], resume=first.session)
    assert second.of(events.Start)[0].sandbox["network"] == ["pypi.org"]


async def test_it_has_no_use_without_a_sandbox(git_repo: GitRepo):
    with pytest.raises(WrongUsage, match="--unsafe-no-sandbox"):
        await run(git_repo({}), [], allow_network=("pypi.org",), unsafe=True)
