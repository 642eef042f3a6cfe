"""The engine process itself: when it leaves, who may speak to it, what it does with nonsense."""

from __future__ import annotations

import asyncio
import os
import signal
import stat
import sys
from pathlib import Path

import pytest

from engine import ChatRequest, Engine, EngineDied, EngineError, Message, Usage, host, launch, locations, wire
from tests.engine.conftest import ModelFile
from tests.engine.host_process import all_left, running_hosts, socket_of


async def raw(path: Path, *frames: dict | bytes) -> list[dict]:
    """Send frames (or bytes) to a host, then read until it hangs up or is silent."""
    reader, writer = await asyncio.open_unix_connection(str(path))
    for frame in frames:
        writer.write(frame if isinstance(frame, bytes) else wire.encode(frame))
    answers = []
    try:
        async with asyncio.timeout(1.0):
            while (answer := await wire.read_frame(reader)) is not None:
                answers.append(answer)
    except TimeoutError:
        answers.append({"type": "silence"})
    writer.close()
    return answers


async def test_leaves_after_its_last_client(scripted: ModelFile, monkeypatch: pytest.MonkeyPatch):
    model = scripted()
    async with asyncio.timeout(20):
        first = await Engine.open(model, keep_alive=0.3)
        second = await Engine.open(model, keep_alive=0.3)
        pid = (await first.status())["pid"]
        await first.close()
        await asyncio.sleep(0.6)
        assert (await second.status())["pid"] == pid
        await second.close()
        await all_left()
        assert not socket_of(model).exists()


async def test_stays_for_a_second_session(scripted: ModelFile):
    model = scripted()
    pids = []
    for _ in range(2):
        async with await Engine.open(model, keep_alive=5) as engine:
            pids.append((await engine.status())["pid"])
    assert pids[0] == pids[1]


async def test_shutdown_waits_for_the_other_client(scripted: ModelFile):
    model = scripted()
    async with asyncio.timeout(20):
        staying = await Engine.open(model)
        leaving = await Engine.open(model)
        await leaving.close(shutdown=True)
        assert (await staying.status())["clients"] >= 1
        await staying.close()
        await all_left()


async def test_leaves_when_nobody_ever_comes(scripted: ModelFile, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(host, "FIRST_CLIENT_SECONDS", 0.2)
    model = Path(scripted())
    place = locations.meeting(model)
    listener = host.listen(place.socket)

    def load(path, threads, progress, memory=None):
        from tests.engine.scripted_runtime import ScriptedRuntime

        return ScriptedRuntime()

    async with asyncio.timeout(10):
        assert await host.Host(model, place, load, keep_alive=0.0).run(listener) == 0
    assert not place.socket.exists()


async def test_sigterm_ends_a_running_answer(scripted: ModelFile):
    model = scripted()
    async with asyncio.timeout(20):
        engine = await Engine.open(model)
        pid = (await engine.status())["pid"]
        answer = engine.chat(ChatRequest(messages=(Message(role="user", content="read 600000"),)))
        await anext(answer)
        os.kill(pid, signal.SIGTERM)
        with pytest.raises(EngineDied):
            async for delta in answer:
                assert not isinstance(delta, Usage)
        await engine.close()
        await all_left()
        assert [child.returncode for child in launch._children] == [0]
        assert not socket_of(model).exists()


async def test_only_this_user_reaches_it(scripted: ModelFile):
    model = scripted()
    async with await Engine.open(model):
        path = socket_of(model)
        assert stat.S_IMODE(path.stat().st_mode) == 0o600
        assert stat.S_IMODE(path.parent.stat().st_mode) == 0o700


async def test_refuses_a_peer_of_another_user(scripted: ModelFile, monkeypatch: pytest.MonkeyPatch):
    ours, theirs = host.socket.socketpair(host.socket.AF_UNIX)
    with ours, theirs:
        assert host._same_user(ours)
        monkeypatch.setattr(os, "getuid", lambda: 12345)
        assert not host._same_user(ours)


async def test_a_host_of_another_version_is_replaced(scripted: ModelFile, monkeypatch: pytest.MonkeyPatch):
    model = scripted()
    async with asyncio.timeout(30):
        old = await Engine.open(model)
        old_pid = (await old.status())["pid"]
        other = f"{wire.build()}x"
        command = launch.host_command

        def newer(*place) -> list[str]:
            python, isolated, flag, boot, *rest = command(*place)
            patch = f"; from engine import wire; wire.build = lambda: {other!r}; "
            return [
                python,
                isolated,
                flag,
                boot.replace("; from engine.host", patch + "from engine.host"),
                *rest,
            ]

        monkeypatch.setattr(launch, "host_command", newer)
        monkeypatch.setattr(wire, "build", lambda: other)
        async with await Engine.open(model) as new:
            assert (await new.status())["pid"] != old_pid
            with pytest.raises(EngineDied):
                await old.status()
        await old.close()
        assert running_hosts() == 1


async def test_an_idle_engine_of_another_budget_leaves_first(scripted: ModelFile):
    model = scripted()
    async with asyncio.timeout(30):
        idle = await Engine.open(model, memory=1 << 30, keep_alive=60)
        await idle.close()
        assert set(locations.budgets_met(Path(model))) == {1 << 30}
        async with await Engine.open(model, memory=2 << 30, keep_alive=60) as busy:
            assert running_hosts() == 1
            assert set(locations.budgets_met(Path(model))) == {2 << 30}
            async with await Engine.open(model, keep_alive=0):
                assert (await busy.status())["memory"] == 2 << 30
                assert set(locations.budgets_met(Path(model))) == {2 << 30, None}
        await all_left()  # the busy one was asked to go with its last client


async def test_a_killed_hosts_socket_is_taken_over(scripted: ModelFile):
    model = scripted()
    async with asyncio.timeout(20):
        engine = await Engine.open(model)
        os.kill((await engine.status())["pid"], signal.SIGKILL)
        await all_left()
        await engine.close()
        assert socket_of(model).exists()
        async with await Engine.open(model) as again:
            assert (await again.status())["state"] == "ready"


async def test_nonsense_harms_nobody_else(scripted: ModelFile):
    model = scripted()
    async with asyncio.timeout(30), await Engine.open(model) as engine:
        path = socket_of(model)
        hello = {"type": "hello", "protocol": wire.PROTOCOL, "build": wire.build(), "pid": 1}
        for frames in (
            [b"GET / HTTP/1.1\r\n\r\n"],
            [{"type": "chat", "id": 1, "request": {}}],
            [{"type": "hello"}],
            [hello, {"type": "chat", "request": {}}],
            [hello, {"type": "dance", "id": 1}],
            [hello, {"type": "chat", "id": 1, "request": {"messages": [{"role": "king"}]}}],
            [hello, {"type": "cancel", "id": 77}, {"type": "dance", "id": 1}],
        ):
            answers = await raw(path, *frames)
            assert any(answer["type"] == "error" for answer in answers), frames
        malformed = await raw(path, hello, {"type": "score", "id": 5, "request": {"prefix": 1}})
        assert {"id": 5, "error": "EngineError"}.items() <= malformed[-2].items()
        assert "The score request is malformed: prefix:" in malformed[-2]["message"]
        assert (await engine.status())["state"] == "ready"


async def test_the_log_holds_no_prompts(scripted: ModelFile):
    model = scripted()
    async with await Engine.open(model) as engine:
        request = ChatRequest(messages=(Message(role="user", content="say secret"),))
        async for _ in engine.chat(request):
            pass
        await engine.cost(request)  # one thread answers in turn, so the line of the chat is written by now
    log = locations.meeting(Path(model)).log
    assert "chat: done" in log.read_text()
    assert "secret" not in log.read_text()
    assert stat.S_IMODE(log.stat().st_mode) == 0o600


def test_wrong_arguments_are_one_sentence(capsys: pytest.CaptureFixture[str]):
    with pytest.raises(SystemExit) as left:
        host.main(["model.gguf"])
    assert left.value.code == 2
    assert "socket" in capsys.readouterr().err


def test_cores():
    assert 1 <= host.usable_cores() <= (os.cpu_count() or 1)


def test_the_host_needs_no_installation(tmp_path: Path):
    command = launch.host_command(tmp_path / "m", locations.beside(tmp_path / "s.sock"), 1.0)
    assert command[:2] == [sys.executable, "-I"]
    assert str(launch.ROOT) in command


async def test_engine_errors_are_engine_errors():
    assert issubclass(wire.WireError, EngineError)
