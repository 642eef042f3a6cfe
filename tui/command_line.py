"""The command line: a contract that other programs run (docs/command-line.md).

Only what a command needs is imported, and only then: `ostro --help` and a headless run load neither
torch nor textual.
"""

from __future__ import annotations

import argparse
import shlex
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NoReturn

from agent.ending import Ending, EnvironmentProblem, WrongUsage
from tui import option_values as values
from tui.standard_output import complain, flush, settle
from tui.starting import fix_command, open_screen, run_task

EXIT_CODES = """\
exit codes: 0 done, 1 unsolved or a limit was reached, 2 wrong usage, 3 environment (no model, no
sandbox, not a git repository, no such command), 4 refused, 70 a fault of Ostro's own, 130 interrupted,
143 terminated"""
APPROVE = """\
auto: what the sandbox allows runs; ask: a person decides, and without one it is denied; read-only:
nothing is written (default: auto, on the screen ask)"""
ALLOW_NETWORK = """\
let commands reach this host, by default on ports 80 and 443; *.DOMAIN means all below it, 127.0.0.1:PORT a
program on this machine (repeatable)"""
IMAGE = "show the model this PNG, JPEG, WebP or GIF file with the task, if it can see (repeatable)"
MODEL = "a catalogue name, a GGUF file or a model's folder (default: the embedded model)"
MEMORY = """\
what the model may take, such as 16GB: its weights, what it keeps of a conversation, and those of its
experts that stay in memory (default: what is free, less a reserve)"""
TIME_LIMIT = "end after so many seconds; loading the model does not count"
ABOUT = """\
A coding agent that hosts its own model.

  ostro                     a session on the screen, in the repository here
  ostro run "TASK"          one task, without a screen
  ostro fix -- CMD...       run CMD; where it fails, work until it passes"""


class Parser(argparse.ArgumentParser):
    """Says what is wrong in one sentence instead of printing its whole usage."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        kwargs.setdefault("formatter_class", argparse.RawDescriptionHelpFormatter)
        super().__init__(*args, allow_abbrev=False, **kwargs)

    def exit(self, status: int = 0, message: str | None = None) -> NoReturn:
        flush()
        super().exit(status, message)

    def error(self, message: str) -> NoReturn:
        raise WrongUsage(f"{message[:1].upper()}{message[1:].rstrip('.')}; see `{self.prog} --help`.")


def main(argv: Sequence[str] | None = None) -> int:
    """Runs one command; its exit code."""
    words = list(sys.argv[1:] if argv is None else argv)
    try:
        code = _dispatch(words)
        flush()
        return code
    except Ending as ending:
        return _said(ending)
    except KeyboardInterrupt:
        complain("ostro: Interrupted.")
        return 130
    except BrokenPipeError:
        return 1  # the reader of standard output went away; nothing is left to say to it
    except Exception:
        from tui.fault import fault

        return _said(fault())
    finally:
        settle()


def _said(ending: Ending) -> int:
    complain(f"ostro: {ending.reason}")
    return ending.exit_code


def _dispatch(words: list[str]) -> int:
    if not words or (words[0].startswith("-") and words[0] not in ("-h", "--help", "--version")):
        return open_screen(_session_parser().parse_args(words))
    command: list[str] | None = None
    if words[0] == "fix" and "--" in words:
        at = words.index("--")
        words, command = words[:at], words[at + 1 :]
    arguments, unknown = _parser().parse_known_args(words)
    if unknown:
        raise WrongUsage(_unknown(arguments.command, unknown))
    if arguments.command == "fix":
        arguments.cmd = command
    handler: Callable[[argparse.Namespace], int] = arguments.handler
    return handler(arguments)


def _unknown(command: str, words: list[str]) -> str:
    if command == "fix" and not words[0].startswith("-"):
        return f"The command stands after two dashes: `ostro fix -- {shlex.join(words)}`."
    return f"Unrecognized arguments: {shlex.join(words)}; see `ostro {command} --help`."


def _parser() -> Parser:
    parser = Parser("ostro", description=ABOUT, epilog=EXIT_CODES)
    parser.add_argument("--version", action="version", version=f"ostro {_version()}")
    commands = parser.add_subparsers(dest="command", metavar="COMMAND", required=True, parser_class=Parser)

    run = commands.add_parser("run", help="do one task, without a screen", epilog=EXIT_CODES)
    run.add_argument("task", nargs="?", metavar="TASK", help="what to do; - reads it from standard input")
    run.add_argument(
        "--verify",
        metavar="CMD",
        type=values.command,
        help="a command that must pass before it is done",
    )
    _run_options(run)
    _headless_options(run)
    run.set_defaults(handler=run_task)

    fix = commands.add_parser(
        "fix", help="run a command; where it fails, work until it passes", epilog=EXIT_CODES,
        usage="ostro fix [options] -- CMD...",
    )  # fmt: skip
    _run_options(fix)
    _headless_options(fix)
    fix.set_defaults(handler=fix_command)

    _models(commands)
    _trust(commands)
    _sessions(commands)
    _undo(commands)

    doctor = commands.add_parser("doctor", help="what this machine has of what Ostro needs")
    doctor.add_argument("--json", action="store_true", help="one JSON array on standard output")
    doctor.set_defaults(handler=_doctor)
    return parser


def _session_parser() -> Parser:
    parser = Parser("ostro", description="A session on the screen, in the repository here.")
    parser.add_argument(
        "--verify", metavar="CMD", type=values.command, help="a command that must pass after a task"
    )
    _run_options(parser)
    return parser


def _run_options(parser: argparse.ArgumentParser) -> None:
    add = parser.add_argument
    add("--repo", metavar="DIR", type=Path, help="the git repository (default: here)")
    add("--model", metavar="REF", help=MODEL)
    add("--memory", metavar="SIZE", type=values.size, help=MEMORY)
    add("--effort", choices=("auto", "none", "high"), help="how hard it thinks (default: auto)")
    add("--image", metavar="PATH", type=values.file, action="append", help=IMAGE)
    add("--resume", metavar="ID", help="go on with an earlier session")
    add("--max-steps", metavar="N", type=values.whole, help="end after so many steps (default: 60)")
    add("--time-limit", metavar="S", type=values.seconds, help=TIME_LIMIT)
    add("--approve", choices=("auto", "ask", "read-only"), help=APPROVE)
    add("--commit", action="store_true", help="commit what it changed, once it is done")
    add("--seed", metavar="N", type=values.seed, help="seed of everything that is drawn at random")
    add("--allow-network", metavar="HOST[:PORT]", type=values.host, action="append", help=ALLOW_NETWORK)
    add("--unsafe-no-sandbox", action="store_true", help="run commands without a sandbox; never resumed")


def _headless_options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--json", action="store_true", help="events as JSON lines on standard output")
    parser.add_argument(
        "--output-dir",
        metavar="DIR",
        type=values.folder,
        help="write events.jsonl, result.json, patch.diff there",
    )


def _models(commands: Any) -> None:
    models = commands.add_parser("models", help="the models there are, and fetching them")
    verbs = models.add_subparsers(
        dest="verb", metavar="list|pull|show|fit|convert", required=True, parser_class=Parser
    )
    listing = verbs.add_parser("list", help="the catalogue, and what of it is here")
    listing.add_argument("--json", action="store_true", help="one JSON object a model")
    pull = verbs.add_parser("pull", help="fetch a model; goes on where an earlier pull stopped")
    pull.add_argument("name", metavar="NAME")
    show = verbs.add_parser("show", help="what a model's files say of it: parts, sizes, context")
    show.add_argument("ref", metavar="REF", help="a catalogue name, a GGUF file or a model's folder")
    show.add_argument("--memory", metavar="SIZE", type=values.size, help="what the model may take")
    show.add_argument("--json", action="store_true", help="one JSON object")
    fit = verbs.add_parser("fit", help="which models this machine can host, how fast, and by what command")
    fit.add_argument("--memory", metavar="SIZE", type=values.size, help="what a model may take")
    fit.add_argument("--again", action="store_true", help="measure this machine anew")
    fit.add_argument("--json", action="store_true", help="one JSON object a model and precision")
    convert = verbs.add_parser("convert", help="pack a model's experts, so that they need not fit in memory")
    convert.add_argument("ref", metavar="REF", help="a model folder or a GGUF file")
    convert.add_argument("target", metavar="TARGET", nargs="?", type=values.folder, help="default: beside it")
    convert.add_argument(
        "--bits", type=values.bits, default=4, help="of each weight: 4, 8 or 16 (default: 4)"
    )
    models.set_defaults(handler=_models_command)


def _trust(commands: Any) -> None:
    trust = commands.add_parser("trust", help="let a repository's AGENTS.md tell the model how to work in it")
    trust.add_argument("path", nargs="?", metavar="PATH", type=Path, help="a folder in it (default: here)")
    what = trust.add_mutually_exclusive_group()
    what.add_argument("--remove", action="store_true", help="trust it no longer")
    what.add_argument("--list", action="store_true", help="print the trusted repositories")
    trust.set_defaults(handler=_trust_command)


def _sessions(commands: Any) -> None:
    sessions = commands.add_parser("sessions", help="earlier runs, from their journals")
    verbs = sessions.add_subparsers(dest="verb", metavar="list|show", required=True, parser_class=Parser)
    listing = verbs.add_parser("list", help="all sessions, oldest first")
    listing.add_argument("--json", action="store_true", help="one JSON object a session")
    show = verbs.add_parser("show", help="what happened in a session")
    show.add_argument("session", metavar="ID")
    show.add_argument("--json", action="store_true", help="its events as JSON lines")
    sessions.set_defaults(handler=_sessions_command)


def _undo(commands: Any) -> None:
    undo = commands.add_parser("undo", help="put the files back as they were before the last step")
    undo.add_argument(
        "--to",
        metavar="STEP",
        type=values.step,
        help="a checkpoint, as `ostro sessions show` has them",
    )
    redo = commands.add_parser("redo", help="bring back what the last undo overwrote")
    for parser in (undo, redo):
        parser.add_argument("session", nargs="?", metavar="SESSION", help="default: the latest one here")
        parser.add_argument(
            "--force", action="store_true", help="also where files were changed since; that is recorded first"
        )
        parser.add_argument(
            "--unsafe-no-sandbox", action="store_true", help="read and write the files without a sandbox"
        )
        parser.set_defaults(handler=_undo_command)


def _models_command(arguments: argparse.Namespace) -> int:
    from engine.errors import EngineError
    from tui.converting import convert_model
    from tui.fitting import fit_models
    from tui.models import list_models, pull_model, show_model

    try:
        if arguments.verb == "list":
            return list_models(as_json=arguments.json)
        if arguments.verb == "pull":
            return pull_model(arguments.name)
        if arguments.verb == "convert":
            return convert_model(arguments.ref, arguments.target, bits=arguments.bits)
        if arguments.verb == "fit":
            return fit_models(again=arguments.again, memory=arguments.memory, as_json=arguments.json)
        return show_model(arguments.ref, memory=arguments.memory, as_json=arguments.json)
    except EngineError as error:
        raise EnvironmentProblem(str(error)) from error


def _sessions_command(arguments: argparse.Namespace) -> int:
    from tui.sessions import list_sessions, show_session

    if arguments.verb == "list":
        return list_sessions(as_json=arguments.json)
    return show_session(arguments.session, as_json=arguments.json)


def _trust_command(arguments: argparse.Namespace) -> int:
    from tui.trust import list_trusted, trust_repository

    if arguments.list:
        if arguments.path:
            raise WrongUsage("--list takes no PATH; leave it out.")
        return list_trusted()
    return trust_repository(arguments.path or Path("."), remove=arguments.remove)


def _undo_command(arguments: argparse.Namespace) -> int:
    from tui.undo import redo_session, undo_session

    told = {"force": arguments.force, "unsafe": arguments.unsafe_no_sandbox}
    if arguments.command == "redo":
        return redo_session(arguments.session, **told)
    return undo_session(arguments.session, step=arguments.to, **told)


def _doctor(arguments: argparse.Namespace) -> int:
    from tui.doctor import doctor

    return doctor(as_json=arguments.json)


def _version() -> str:
    from agent.version import version

    return version()
