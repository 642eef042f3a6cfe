"""From the words after `ostro run`, `ostro fix` or `ostro` alone to the run that they ask for."""

from __future__ import annotations

import argparse
import errno
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

from agent.ending import Ending, EnvironmentProblem, WrongUsage
from tui.early_signals import EarlySignals, noted


def run_task(arguments: argparse.Namespace) -> int:
    return _headless(arguments, _task)


def fix_command(arguments: argparse.Namespace) -> int:
    return _headless(arguments, _command)


def _headless(
    arguments: argparse.Namespace, told: Callable[[argparse.Namespace, EarlySignals], dict[str, Any]]
) -> int:
    """From here on the options have parsed: whatever is wrong still gives its `end`."""
    with noted() as early:
        from tui.headless import refuse, run_headless

        try:
            options = _options(arguments, **told(arguments, early))
        except Ending as ending:
            return refuse(ending, as_json=arguments.json)
        folder = arguments.output_dir
        return run_headless(options, as_json=arguments.json, output_dir=folder, early=early)


def open_screen(arguments: argparse.Namespace) -> int:
    if not (sys.stdin.isatty() and sys.stdout.isatty() and sys.stderr.isatty()):
        raise WrongUsage('The session needs a terminal; `ostro run "TASK"` works without one.')
    from tui.screen import run_screen

    arguments.approve = arguments.approve or "ask"
    return run_screen(_options(arguments, kind="session", **_given(verify=arguments.verify)))


def _task(arguments: argparse.Namespace, early: EarlySignals) -> dict[str, Any]:
    task = arguments.task
    if task == "-":
        task = _standard_input(early)
    if arguments.resume:
        _no_images(arguments)
        if task is not None:
            raise WrongUsage("--resume goes on with the task of its session; leave TASK out.")
    elif task is None:
        raise WrongUsage('There is no task; write `ostro run "TASK"`, or `ostro run -` to read it.')
    elif not task.strip():
        raise WrongUsage("The task is empty; say what is to be done.")
    return {"kind": "run", **_given(task=task, verify=arguments.verify)}


def _standard_input(early: EarlySignals) -> str:
    try:
        if sys.stdin is None:
            raise OSError(errno.EBADF, "it is closed")
        return early.read(sys.stdin.fileno()).decode("utf-8", "replace")
    except OSError as error:
        raise EnvironmentProblem(f"Standard input cannot be read ({error.strerror}).") from error


def _command(arguments: argparse.Namespace, _early: EarlySignals) -> dict[str, Any]:
    if not arguments.cmd and not arguments.resume:
        raise WrongUsage("There is no command; write it after two dashes: `ostro fix -- python -m pytest`.")
    if arguments.cmd and not arguments.cmd[0]:
        raise WrongUsage("The command's name is empty; write it after two dashes.")
    if arguments.resume:
        _no_images(arguments)
    if arguments.cmd and arguments.resume:
        raise WrongUsage("--resume goes on with the command of its session; leave CMD out.")
    return {"kind": "fix", **_given(command=arguments.cmd)}


def _no_images(arguments: argparse.Namespace) -> None:
    if arguments.image:
        raise WrongUsage("--resume goes on with the images of its session; leave --image out.")


def _options(arguments: argparse.Namespace, **told: Any) -> Any:
    from agent.options import RunOptions

    given = _given(
        model=arguments.model,
        memory=arguments.memory,
        effort=arguments.effort,
        resume=arguments.resume,
        max_steps=arguments.max_steps,
        time_limit=arguments.time_limit,
        approve=arguments.approve,
        seed=arguments.seed,
        image=arguments.image and tuple(path.absolute() for path in arguments.image),
        allow_network=arguments.allow_network and tuple(arguments.allow_network),
        commit=arguments.commit or None,
        unsafe=arguments.unsafe_no_sandbox or None,
    )
    if arguments.repo or not arguments.resume:
        given["repo"] = (arguments.repo or Path(".")).absolute()
    return RunOptions(**told, **given)


def _given(**values: Any) -> dict[str, Any]:
    """What was said on the command line; the rest keeps its default, or what a resumed session was told."""
    return {name: value for name, value in values.items() if value is not None}
