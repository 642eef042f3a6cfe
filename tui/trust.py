"""`ostro trust`: which repositories may tell the model how to work in them."""

from __future__ import annotations

import os
from pathlib import Path

from agent.ending import EnvironmentProblem
from agent.trust import trust, trusted
from sandbox import SandboxError
from sandbox.repository import find_repository
from tui.standard_output import say


def trust_repository(path: Path, *, remove: bool = False) -> int:
    """Trusts the repository that holds `path`, or no longer. Raises EnvironmentProblem."""
    root = _root(path, remove)
    changed = trust(root, remove=remove)
    state = "no longer trusted" if remove and changed else "not trusted" if remove else "trusted"
    say(f"{root} is {state}{'' if changed or remove else ' already'}.")
    return 0


def list_trusted() -> int:
    """Prints the trusted repositories, one a line."""
    for root in trusted():
        say(str(root))
    return 0


def _root(path: Path, remove: bool) -> Path:
    """Of a repository that is gone, or is none any more, what was trusted can still be taken back."""
    places = [Path(os.path.realpath(path)), Path(os.path.abspath(path))]
    if remove and (known := [place for place in places if place in trusted()]):
        return known[0]
    try:
        return find_repository(path).root
    except SandboxError as error:
        if remove:
            return places[0]
        raise EnvironmentProblem(str(error)) from error
