from __future__ import annotations

from tests.tools.calling import OpenContext, call


async def test_output_and_exit_code(open_context: OpenContext) -> None:
    ctx = await open_context({"src/a.txt": "inside\n"})

    good = await call(ctx, "shell", command="cat a.txt && echo ${PWD##*/}", cwd="src")
    bad = await call(ctx, "shell", command="echo out; echo err >&2; exit 3")
    quiet = await call(ctx, "shell", command="true")

    assert good.ok and good.text.startswith("inside\nsrc\n[exit code 0 after ")
    assert not bad.ok and bad.data["exit_code"] == 3
    assert "out\nerr\n[exit code 3" in bad.text
    assert quiet.text.startswith("(no output)\n[exit code 0")


async def test_it_is_bash(open_context: OpenContext) -> None:
    ctx = await open_context({})

    result = await call(ctx, "shell", command="set -o pipefail; [[ a == a ]] && false | cat")

    assert result.data["exit_code"] == 1


async def test_an_unknown_command_and_a_killed_one_are_named(open_context: OpenContext) -> None:
    ctx = await open_context({})

    assert "exit code 127 (command not found)" in (await call(ctx, "shell", command="no-such-program")).text
    assert "killed by SIGKILL" in (await call(ctx, "shell", command="kill -9 $$")).text


async def test_the_time_limit_stops_it(open_context: OpenContext) -> None:
    ctx = await open_context({})

    result = await call(ctx, "shell", command="echo started; sleep 60", timeout_seconds=1)

    assert not result.ok and result.data["timed_out"] is True
    assert result.text.startswith("started\n[stopped at its time limit")


async def test_a_folder_outside_is_refused(open_context: OpenContext) -> None:
    ctx = await open_context({})

    result = await call(ctx, "shell", command="pwd", cwd="../..")

    assert not result.ok
    assert "outside the workspace" in result.text


async def test_the_end_of_long_output_is_shown_and_the_whole_is_kept(open_context: OpenContext) -> None:
    ctx = await open_context({}, budget=200)

    result = await call(ctx, "shell", command="seq 1 1000")
    again = await call(ctx, "output", id="o1", start=500, end=500)

    assert result.text.startswith("[… lines 1-")
    assert "\n1000\n[exit code 0" in result.text
    assert again.text.startswith("  500→500\n")


async def test_escapes_reach_neither_the_model_nor_a_face(open_context: OpenContext) -> None:
    seen: list[str] = []
    ctx = await open_context({}, on_output=seen.append)

    result = await call(ctx, "shell", command=r"printf '\033[31mred\033[0m\033]52;c;aGk=\007 \302\2331mend'")

    assert result.text.startswith("red end\n")
    assert "".join(seen) == "red end"
