"""Builds tasks: a subject with one mutation that its suite catches, and some failing tests held back."""

from __future__ import annotations

import random
import shutil
import tempfile
from collections.abc import Generator, Iterator
from pathlib import Path

from pydantic import BaseModel

from bench.holdback import function_of, hold_back, removable
from bench.mutations import Mutation, mutations
from bench.subjects import SetName, Subject, make_repository, subjects
from bench.suite import SuiteRun, run_suite

SUITE_SECONDS = 60.0
"""Limit of an unbroken suite."""


class Task(BaseModel):
    """What is known of a task; its repositories lie beside it on the disk (see `folder_of`)."""

    id: str
    group: SetName
    subject: str
    command: list[str]
    position: int
    """Which of the subject's mutations under this seed it is, caught or not, from 0."""
    file: str
    """The one broken file, relative to the repository."""
    kind: str
    line: int
    before: str
    after: str
    failing: list[str]
    """Node ids that the mutation makes fail."""
    hidden: list[str]
    """Test functions that the agent does not see, all of them failing."""
    passed: int
    """Tests that pass in the unbroken suite."""
    suite_seconds: float

    @property
    def limit(self) -> float:
        """Seconds a run of the suite may take before it counts as hanging."""
        return max(10.0, 5 * self.suite_seconds)


def repository_of(folder: Path) -> Path:
    """What the agent gets: broken, committed, without the hidden tests."""
    return folder / "repo"


def judge_of(folder: Path) -> Path:
    """The same with every test."""
    return folder / "judge"


def build(subject: Subject, seed: int, into: Path) -> Generator[Task, None, None]:
    """Tasks of a subject, one after another, each in its folder `into/ID`; those already there are reused.

    Raises RuntimeError where the unbroken suite does not pass here, FetchFailed where it cannot be had.
    """
    number, last = 0, -1
    while task := _kept(into / f"{subject.name}-{seed}-{number}"):
        number, last = number + 1, task.position
        yield task
    into.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix="ostro-build-") as scratch:
        whole = Path(scratch) / "whole"
        subject.write(whole)
        unbroken = run_suite(whole, subject.command, SUITE_SECONDS)
        if not unbroken.green:
            raise RuntimeError(
                f"The unbroken suite of {subject.name} does not pass here:\n{unbroken.output[-2000:]}"
            )
        for position, (file, mutation) in enumerate(_all_mutations(subject, whole, seed)):
            caught = _caught(subject, whole, file, mutation, unbroken) if position > last else None
            if caught is None:
                continue
            task_id = f"{subject.name}-{seed}-{number}"
            functions = sorted({function_of(node_id) for node_id in caught.failed})
            task = Task(
                id=task_id, group=subject.group, subject=subject.name, command=list(subject.command),
                position=position, file=file, kind=mutation.kind, line=mutation.line,
                before=mutation.before, after=mutation.after, failing=caught.failed,
                hidden=_half(removable(whole, functions), len(functions), task_id),
                passed=unbroken.passed, suite_seconds=unbroken.seconds,
            )  # fmt: skip
            if _write(task, whole, mutation, into / task_id):
                number += 1
                yield task


def _kept(folder: Path) -> Task | None:
    file = folder / "task.json"
    return Task.model_validate_json(file.read_text()) if file.is_file() else None


def _half(functions: list[str], of: int, seed: str) -> list[str]:
    """Half of the failing functions, rounded down, as far as they can be taken out."""
    mixed = list(functions)
    random.Random(f"hold back {seed}").shuffle(mixed)
    return sorted(mixed[: of // 2])


def build_set(group: SetName, seed: int, count: int | None, into: Path) -> Iterator[tuple[Task, Path]]:
    """`count` tasks of a set (default: one of each subject), taken in turns, with their folders."""
    rows = [build(subject, seed, into) for subject in subjects(group)]
    left = len(rows) if count is None else count
    while rows and left > 0:
        for row in list(rows):
            task = next(row, None)
            if task is None:
                rows.remove(row)
                continue
            yield task, into / task.id
            left -= 1
            if left == 0:
                break
    for row in rows:
        row.close()


def _all_mutations(subject: Subject, root: Path, seed: int) -> Iterator[tuple[str, Mutation]]:
    """All files' mutations, mixed: a file's chance is its size."""
    rng = random.Random(f"files {subject.name} {seed}")
    files = subject.sources(root)
    weights = {file: (root / file).stat().st_size for file in files}
    rows = {file: mutations((root / file).read_bytes().decode(), seed) for file in files}
    while rows:
        file = rng.choices(list(rows), [weights[f] for f in rows])[0]
        mutation = next(rows[file], None)
        if mutation is None:
            del rows[file]
        else:
            yield file, mutation


def _caught(
    subject: Subject, whole: Path, file: str, mutation: Mutation, unbroken: SuiteRun
) -> SuiteRun | None:
    """The suite's run on the mutation, where at least one test fails and it neither hangs nor stops early."""
    original = (whole / file).read_bytes()
    (whole / file).write_bytes(mutation.source.encode())
    try:
        run = run_suite(whole, subject.command, max(10.0, 5 * unbroken.seconds))
    finally:
        (whole / file).write_bytes(original)
    return run if run.exit_code == 1 and run.failed and not run.errors else None


def _write(task: Task, whole: Path, mutation: Mutation, folder: Path) -> bool:
    """Write the task's repositories; False where the tests that are left cannot stand alone."""
    shutil.rmtree(folder, ignore_errors=True)
    visible = repository_of(folder)
    shutil.copytree(whole, visible, symlinks=True)
    shutil.copytree(whole, judge_of(folder), symlinks=True)
    hold_back(visible, task.hidden)
    sound = not task.hidden or run_suite(visible, task.command, task.limit).green
    for place in (visible, judge_of(folder)):
        (place / task.file).write_bytes(mutation.source.encode())
    if not sound or (task.hidden and run_suite(visible, task.command, task.limit).exit_code != 1):
        shutil.rmtree(folder)
        return False
    make_repository(visible)
    (folder / "task.json").write_text(task.model_dump_json(indent=1) + "\n")
    return True
