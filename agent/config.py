"""The user's own settings: one TOML file in their config folder, read once at the start (docs/config.md).

Never read from a repository, nor from a folder inside one: what is at work there could write itself leave.
"""

from __future__ import annotations

import errno
import os
import re
import stat
import tomllib
from pathlib import Path
from typing import Annotated, Any

import platformdirs
from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, ValidationError

from agent.ending import EnvironmentProblem
from agent.rules import Rule
from sandbox import Limits

_SIZE = re.compile(r"(\d{1,15}(?:\.\d{1,6})?) ?([kMGT]?i?B)", re.ASCII)
_UNITS = {"B": 1} | {
    f"{prefix}{i}B": (1024 if i else 1000) ** power
    for power, prefix in enumerate("kMGT", 1)
    for i in ("", "i")
}
_UNITS["KiB"] = _UNITS["kiB"]
ALLOWED_SIZE = 'a size such as "2 GiB" or "500 MB", or a whole number of bytes'


def size_in_bytes(text: str) -> int:
    """Of a size with its unit, such as "2 GiB" or "500MB". ValueError: it is none."""
    found = _SIZE.fullmatch(text.replace("KiB", "kiB"))
    if found is None or found[2] not in _UNITS:
        raise ValueError("this is no size")
    return int(float(found[1]) * _UNITS[found[2]])


def _size(value: object) -> object:
    return size_in_bytes(value) if isinstance(value, str) else value


Size = Annotated[int, BeforeValidator(_size)]


class _Table(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)


def _limit(allowed: str, **bounds: Any) -> Any:
    return Field(default=None, description=allowed, **bounds)


class LimitsTable(_Table):
    """Ceilings for one command; what is left out keeps its default (sandbox/limits.py)."""

    seconds: float | None = _limit("a number of seconds above 0", gt=0, allow_inf_nan=False)
    processes: int | None = _limit("a whole number from 8 to 1,000,000", ge=8, le=10**6)
    memory: Size | None = _limit(f"{ALLOWED_SIZE}, 1 MiB at least", ge=1 << 20, le=1 << 50)
    file_size: Size | None = _limit(f"{ALLOWED_SIZE}, 1 KiB at least", ge=1 << 10, le=1 << 50)
    disk: Size | None = _limit(f"{ALLOWED_SIZE}, 1 MiB at least", ge=1 << 20, le=1 << 50)
    output: Size | None = _limit(f"{ALLOWED_SIZE}, from 1 KiB to 1 GiB", ge=1 << 10, le=1 << 30)


class ApprovalsTable(_Table):
    rule: list[Rule] = Field(default=[], description="tables [[approvals.rule]]")


class Config(_Table):
    limits: LimitsTable = Field(default=LimitsTable(), description="a table [limits]")
    approvals: ApprovalsTable = Field(default=ApprovalsTable(), description="a table [approvals]")

    def sandbox_limits(self) -> Limits:
        told = {
            "longest_seconds": self.limits.seconds,
            "processes": self.limits.processes,
            "memory_bytes": self.limits.memory,
            "file_bytes": self.limits.file_size,
            "disk_bytes": self.limits.disk,
            "output_bytes": self.limits.output,
        }
        return Limits(**{name: value for name, value in told.items() if value is not None})


def config_folder(root: Path | None = None) -> Path:
    """Where the user's settings lie. EnvironmentProblem: in the repository at `root`, so that it has them."""
    folder = Path(platformdirs.user_config_dir("ostro", appauthor=False))
    real = Path(os.path.realpath(folder))
    if root is not None and real.is_relative_to(root):
        raise EnvironmentProblem(
            f"Ostro's settings would lie in the workspace ({real}); "
            "set XDG_CONFIG_HOME to a folder outside it."
        )
    return folder


def settings_file(name: str, root: Path | None = None) -> Path:
    """A file of the user's settings. EnvironmentProblem: it, or a link to it, lies in the repository."""
    path = config_folder(root) / name
    real = Path(os.path.realpath(path))
    if root is not None and real.is_relative_to(root):
        raise EnvironmentProblem(
            f"{path} is a link into the workspace ({real}); put a file in its place, or work elsewhere."
        )
    return path


def load(root: Path | None = None) -> Config:
    """The settings, all defaults where there is no file. EnvironmentProblem names file and key."""
    path = settings_file("config.toml", root)
    try:
        text = _content(path).decode("utf-8")
    except FileNotFoundError:
        return Config()
    except OSError as error:
        raise EnvironmentProblem(f"{path} cannot be read ({error.strerror}).") from error
    except UnicodeDecodeError:
        raise EnvironmentProblem(f"{path} is no UTF-8 text; save it as UTF-8.") from None
    try:
        return Config.model_validate(tomllib.loads(text))
    except tomllib.TOMLDecodeError as error:
        raise EnvironmentProblem(f"{path} is no valid TOML: {error}.") from None
    except RecursionError:
        raise EnvironmentProblem(f"{path} is no valid TOML: it is nested too deeply.") from None
    except ValidationError as error:
        raise EnvironmentProblem(f"{path}: {_wrong(error)}.") from None


def _content(path: Path) -> bytes:
    """Of a file. Raises OSError for anything else: nobody may ever write to a pipe."""
    fd = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    try:
        if not stat.S_ISREG(os.fstat(fd).st_mode):
            raise OSError(errno.EINVAL, "it is no file")
        with open(fd, "rb", closefd=False) as file:
            return file.read()
    finally:
        os.close(fd)


def _wrong(error: ValidationError) -> str:
    """The first thing that is wrong, and what is allowed in its place."""
    first = error.errors(include_url=False)[0]
    where = list(first["loc"])
    key = "".join(f"[{part}]" if isinstance(part, int) else f".{part}" for part in where).lstrip(".")
    if first["type"] == "extra_forbidden":
        keys = ", ".join(_model(where[:-1]).model_fields)
        return f"{key} is no key; allowed are {keys}"
    if first["type"] == "missing":
        return f"{key} is missing; allowed is {_field(where)}"
    return f"{key} = {_short(first['input'])} is wrong; allowed is {_field(where)}"


def _model(where: list[Any]) -> type[BaseModel]:
    """The table at a place of the file."""
    if not where:
        return Config
    return {"limits": LimitsTable, "approvals": ApprovalsTable if len(where) == 1 else Rule}[where[0]]


def _field(where: list[Any]) -> str:
    names = [part for part in where if isinstance(part, str)]
    if isinstance(where[-1], int):
        return "a table with decision, tool and command"
    depth = 1 if len(names) == 1 else 2
    model = Rule if len(names) == 3 else _model(names[: depth - 1])
    return model.model_fields[names[-1]].description or "something else"


def _short(value: object) -> str:
    text = repr(value)
    return text if len(text) <= 60 else f"{text[:59]}…"
