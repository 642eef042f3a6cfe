"""The benchmark of one-bug tasks: `python -m bench.tasks build|run|summary` (docs/benchmark.md)."""

from __future__ import annotations

import argparse
import json
import re
import shutil
import sys
import tempfile
from pathlib import Path
from statistics import median

from pydantic import BaseModel

from bench.agents import Attempt, ostro, other
from bench.building import Task, build_set, repository_of
from bench.holdback import function_of
from bench.judging import Judgement, judge
from bench.projects import FetchFailed
from bench.subjects import SETS, SetName

RESULTS = Path(__file__).parent / "results"


class Result(BaseModel):
    """One line of a results file."""

    task: str
    group: SetName
    kind: str
    visible: int
    """Failing tests that the agent saw."""
    held_back: int
    """Failing test functions that it did not."""
    model: str | None
    agent: str
    attempt: Attempt
    judgement: Judgement


def main(arguments: list[str] | None = None) -> int:
    options = _parser().parse_args(arguments)
    try:
        return options.action(options)
    except (FetchFailed, RuntimeError) as problem:
        print(problem, file=sys.stderr)
        return 1


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m bench.tasks", description=__doc__)
    actions = parser.add_subparsers(required=True, metavar="build|run|summary")
    chosen = argparse.ArgumentParser(add_help=False)
    chosen.add_argument("--set", dest="group", choices=[*SETS, "all"], required=True)
    chosen.add_argument("--seed", type=int, default=1)
    chosen.add_argument("--count", type=_positive, help="tasks of each set (default: one of each subject)")

    building = actions.add_parser("build", parents=[chosen], help="write broken repositories")
    building.add_argument(
        "--out", type=Path, required=True, help="folder for OUT/ID/repo and OUT/ID/task.json"
    )
    building.set_defaults(action=_build)

    running = actions.add_parser("run", parents=[chosen], help="let an agent work on the tasks")
    running.add_argument("--model", help="model reference for ostro (default: its own default)")
    running.add_argument("--time-limit", type=float, default=240.0, help="seconds for each task")
    running.add_argument("--agent", help="another agent's command line, with {repo} {command} {prompt}")
    running.add_argument("--name", help="of the results file; the same name goes on where it stopped")
    running.set_defaults(action=_run)

    summary = actions.add_parser("summary", help="print the table of a results file")
    summary.add_argument("file", type=Path)
    summary.set_defaults(action=_summary)
    return parser


def _positive(text: str) -> int:
    if not text.isdigit() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"{text!r} is not a positive number")
    return int(text)


def _groups(options: argparse.Namespace) -> list[SetName]:
    return list(SETS) if options.group == "all" else [options.group]


def _build(options: argparse.Namespace) -> int:
    for group in _groups(options):
        for task, folder in build_set(group, options.seed, options.count, options.out):
            print(f"{repository_of(folder)}  ({task.kind}; {len(task.failing)} tests fail)", flush=True)
    return 0


def _run(options: argparse.Namespace) -> int:
    file = RESULTS / f"{options.name or _default_name(options)}.jsonl"
    logs = file.with_suffix("")
    logs.mkdir(parents=True, exist_ok=True)
    done = {result.task for result in read_results(file)}
    for group in _groups(options):
        for task, folder in build_set(group, options.seed, options.count, RESULTS / "tasks"):
            if task.id in done:
                continue
            result = attempt(task, folder, options, logs / f"{task.id}.log")
            _append(file, result)
            print(_line(result), flush=True)
    print(f"\n{table(read_results(file))}\n\n{file}")
    return 0


def _append(file: Path, result: Result) -> None:
    torn = file.is_file() and file.read_bytes()[-1:] not in (b"", b"\n")
    with file.open("a", encoding="utf-8") as lines:
        lines.write("\n" * torn + result.model_dump_json() + "\n")


def attempt(task: Task, folder: Path, options: argparse.Namespace, log: Path) -> Result:
    """Give an agent a copy of the task's repository, away from the hidden tests, and judge what it leaves."""
    with tempfile.TemporaryDirectory(prefix="ostro-bench-") as scratch:
        work = Path(scratch) / task.subject
        shutil.copytree(repository_of(folder), work, symlinks=True)
        if options.agent:
            tried = other(options.agent, work, task.command, options.time_limit, log)
        else:
            tried = ostro(work, task.command, options.model, options.time_limit, log)
        verdict = judge(task, folder, work)
    seen = [node_id for node_id in task.failing if function_of(node_id) not in task.hidden]
    return Result(
        task=task.id,
        group=task.group,
        kind=task.kind,
        visible=len(seen),
        held_back=len(task.hidden),
        model=options.model,
        agent=options.agent or "ostro",
        attempt=tried,
        judgement=verdict,
    )


def read_results(file: Path) -> list[Result]:
    """The results in a file; none where it does not exist, and a line torn by an interruption is left out."""
    if not file.is_file():
        return []
    results = []
    for line in file.read_text(encoding="utf-8").splitlines():
        try:
            results.append(Result.model_validate(json.loads(line)))
        except ValueError:
            continue
    return results


def table(results: list[Result]) -> str:
    """One row a set: tasks, solved, and the middle of seconds, tokens and steps."""
    rows = [_cells("set", "tasks", "plausible", "right", "seconds", "solved in", "tokens", "steps")]
    for group in SETS:
        own = [r for r in results if r.group == group]
        if own:
            rows.append(_row(group, own))
    return "\n".join(rows)


def _row(group: str, own: list[Result]) -> str:
    solved = [r for r in own if r.judgement.right]
    return _cells(
        group,
        str(len(own)),
        str(sum(r.judgement.plausible for r in own)),
        str(len(solved)),
        _middle([r.attempt.seconds for r in own]),
        _middle([r.attempt.seconds for r in solved]),
        _middle([r.attempt.tokens["generated"] for r in own if "generated" in r.attempt.tokens]),
        _middle([r.attempt.steps for r in own if r.attempt.steps is not None]),
    )


def _cells(name: str, *cells: str) -> str:
    return f"{name:<12}" + "".join(f"{cell:>11}" for cell in cells)


def _middle(numbers: list[float] | list[int]) -> str:
    return f"{median(numbers):.0f}" if numbers else "-"


def _line(result: Result) -> str:
    verdict = "right" if result.judgement.right else "plausible" if result.judgement.plausible else "failed"
    reason = f"  {result.attempt.reason}" if result.attempt.reason else ""
    return f"{result.task:<32} {verdict:<10} {result.attempt.seconds:6.1f} s  {result.kind}{reason}"


def _default_name(options: argparse.Namespace) -> str:
    words = [options.group, str(options.seed), options.model or "default", options.agent or "ostro"]
    return "-".join(re.sub(r"[^A-Za-z0-9.]+", "_", word)[:40] for word in words)


def _summary(options: argparse.Namespace) -> int:
    if not options.file.is_file():
        print(f"There is no results file {options.file}.", file=sys.stderr)
        return 2
    print(table(read_results(options.file)))
    return 0


if __name__ == "__main__":
    sys.exit(main())
