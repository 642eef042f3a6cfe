"""`make run`: breaks one line of a real project, and lets `ostro fix` repair it.

The seed picks the project and the line; nothing else does. The project comes from PyPI at a pinned version
with its own test suite; all of it stays in the user's cache, so that a second run starts at once.
"""

from __future__ import annotations

import argparse
import json
import random
import shlex
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

import platformdirs

from bench.agents import OSTRO
from bench.building import Task, build, judge_of
from bench.judging import changed_files
from bench.projects import FetchFailed, Project
from bench.subjects import make_repository, subjects
from bench.suite import environment, run_suite

TIME_LIMIT = 600.0
"""Seconds, in which each rung of `ostro fix` has what it has without a limit; loading does not count."""
SHOWN = 5


def main() -> int:
    """Exit code 0 where the project is repaired and its whole suite passes, else 1."""
    parser = argparse.ArgumentParser(prog="python -m bench.demo", description=__doc__)
    parser.add_argument("--seed", type=int, default=1, help="picks the project and the line (default: 1)")
    parser.add_argument("--model", help="model reference (default: the embedded model)")
    parser.add_argument(
        "--time-limit", type=float, default=TIME_LIMIT, help=f"seconds (default: {TIME_LIMIT:g})"
    )
    options = parser.parse_args()
    try:
        project, task, folder = _prepare(options.seed)
        return _repair(project, task, folder, options)
    except (FetchFailed, RuntimeError) as problem:
        print(problem, file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        return 130


def _prepare(seed: int) -> tuple[Project, Task, Path]:
    subject = random.Random(f"demonstration {seed}").choice(subjects("dev"))
    assert subject.project is not None
    _say(f"{subject.project.name} {subject.project.version} from PyPI, with one line broken (seed {seed})")
    into = platformdirs.user_cache_path("ostro", appauthor=False) / "bench" / "demo"
    task = next(build(subject, seed, into), None)
    if task is None:
        raise RuntimeError(
            f"The tests of {subject.name} catch no mutation under seed {seed}: try another seed."
        )
    return subject.project, task, into / task.id


def _repair(project: Project, task: Task, folder: Path, options: argparse.Namespace) -> int:
    broken = judge_of(folder)
    with tempfile.TemporaryDirectory(prefix="ostro-demo-") as scratch:
        repo = Path(scratch) / project.name
        shutil.copytree(broken, repo, symlinks=True)
        make_repository(repo)
        command = shlex.join(task.command)
        _say(f"{command}: {len(task.failing)} of {task.passed} tests fail now")
        for node_id in task.failing[:SHOWN]:
            print(f"    {node_id}")
        if len(task.failing) > SHOWN:
            print(f"    and {len(task.failing) - SHOWN} more")
        chosen = ["--model", options.model] if options.model else []
        limit = ["--time-limit", f"{options.time_limit:g}"]
        into = ["--output-dir", str(Path(scratch) / "out")]
        ostro = ["fix", "--repo", str(repo), *chosen, *limit, *into, "--", *task.command]
        _say(f"ostro {shlex.join(ostro)}")
        done = subprocess.run([sys.executable, "-m", "ostro", *ostro], cwd=OSTRO, env=environment())
        if done.returncode == 130:
            return 130
        end = _end(Path(scratch) / "out" / "result.json")
        problem = not_repaired(end, done.returncode, options) or _wrongly(task, broken, repo)
        _reveal(task, broken, repo)
        _say(problem or f"Repaired: {command} passes, all {task.passed} tests of {project.name}")
        return 1 if problem else 0


def _end(result: Path) -> dict[str, Any]:
    """What `ostro fix` said at its end; nothing where it did not come to that."""
    try:
        return json.loads(result.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}


def not_repaired(end: dict[str, Any], exit_code: int, options: argparse.Namespace) -> str | None:
    """Why Ostro itself does not call it repaired, and what to do; None where it does."""
    if not exit_code:
        return None
    outcome, other = end.get("outcome"), f"`make run SEED={options.seed + 1}` breaks another line."
    if outcome == "limit":
        more = f"`make run SEED={options.seed} TIME_LIMIT={2 * options.time_limit:g}` gives it more"
        return (
            f"Not repaired in the {options.time_limit:g} s that it had, loading the model not counted. "
            f"{more}; {other}"
        )
    if outcome == "unsolved":
        return f"Not repaired: Ostro tried all it knows, and gave up. {other}"
    if outcome == "environment":
        return "Not repaired: something is missing on this machine, see above; `ostro doctor` looks at it."
    return f"Not repaired: ostro fix ended with exit code {exit_code}, see above."


def _wrongly(task: Task, broken: Path, repo: Path) -> str | None:
    """Why this is no repair, as one sentence; Ostro's own word for it is not enough."""
    changed = changed_files(broken, repo)
    if changed != [task.file]:
        return (
            f"Not repaired: the bug is in one file, but these were changed: {', '.join(changed) or 'none'}."
        )
    suite = run_suite(repo, task.command, task.limit)
    if not suite.green or suite.passed < task.passed:
        return f"Not repaired: {suite.passed} of {task.passed} tests pass."
    return None


def _reveal(task: Task, broken: Path, repo: Path) -> None:
    """What was planted, next to what was found."""
    _say(f"The planted bug ({task.kind}): {task.file}, line {task.line}")
    print(f"    was     {task.before}\n    became  {task.after or '(nothing)'}")
    for file in changed_files(broken, repo):
        diff = subprocess.run(
            ["git", "diff", "--no-index", "--unified=0", "--", str(broken / file), str(repo / file)],
            capture_output=True, text=True, errors="replace",
        )  # fmt: skip
        lines = [line for line in diff.stdout.splitlines()[4:] if not line.startswith(("@@", "\\"))]
        _say(f"What Ostro changed: {file}")
        print("\n".join(f"    {line}" for line in lines))


def _say(text: str) -> None:
    print(f"==> {text}", flush=True)


if __name__ == "__main__":
    sys.exit(main())
