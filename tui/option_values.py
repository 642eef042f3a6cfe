"""What is written after an option, as the value it stands for; else one sentence that says what is wrong."""

from __future__ import annotations

import argparse
import re
from pathlib import Path

DIGITS = "[0-9]{1,18}"
"""Of every number: more would be no number for Python, or for what counts with it."""
MOST_SHOWN = 40
"""Characters of what is wrong that are said back."""


def folder(text: str) -> Path:
    if not text:
        raise argparse.ArgumentTypeError("the name of the folder is empty")
    return Path(text)


def file(text: str) -> Path:
    if not text:
        raise argparse.ArgumentTypeError("the name of the file is empty")
    return Path(text)


def command(text: str) -> list[str]:
    from agent.verify import split_command

    try:
        words = split_command(text)
    except ValueError as error:
        raise argparse.ArgumentTypeError(f"{text!r} is no command ({error})") from None
    if not words:
        raise argparse.ArgumentTypeError("the command is empty")
    return words


def host(text: str) -> str:
    from sandbox.allowed import BadHost, Entry

    try:
        return str(Entry.parse(text))
    except BadHost as problem:
        raise argparse.ArgumentTypeError(str(problem)) from None


def size(text: str) -> int:
    from agent.config import size_in_bytes

    try:
        size = size_in_bytes(text)
    except ValueError:
        raise argparse.ArgumentTypeError(
            f"{brief(text)} is no size; write one such as 16GB or 500MiB"
        ) from None
    if not 1 << 20 <= size <= 1 << 50:
        raise argparse.ArgumentTypeError(f"{brief(text)} is not from 1 MiB to 1,024 TiB")
    return size


def whole(text: str) -> int:
    if not re.fullmatch(DIGITS, text) or int(text) < 1:
        raise argparse.ArgumentTypeError(f"{brief(text)} is not a whole number above 0, of at most 18 digits")
    return int(text)


def step(text: str) -> int:
    if not re.fullmatch(DIGITS, text):
        raise argparse.ArgumentTypeError(f"{brief(text)} is not the number of a checkpoint")
    return int(text)


def seed(text: str) -> int:
    if not re.fullmatch(f"-?{DIGITS}", text):
        raise argparse.ArgumentTypeError(f"{brief(text)} is not a whole number of at most 18 digits")
    return int(text)


def brief(text: str) -> str:
    """What was written, to be said back."""
    return repr(text if len(text) <= MOST_SHOWN else f"{text[:MOST_SHOWN]}…")


def bits(text: str) -> int:
    if text not in ("4", "8", "16"):
        raise argparse.ArgumentTypeError(f"{brief(text)} is not 4, 8 or 16")
    return int(text)


def seconds(text: str) -> float:
    try:
        seconds = float(text)
    except ValueError:
        seconds = 0.0
    if not 0 < seconds < 1e9:
        raise argparse.ArgumentTypeError(f"{brief(text)} is not a number of seconds above 0")
    return seconds
