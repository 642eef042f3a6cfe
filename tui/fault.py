"""A mistake of Ostro's own outside a session: one sentence, and the traceback in a file."""

from __future__ import annotations

import os
import sys
import time
import traceback

from agent.ending import Ending, Fault, no_space
from agent.journal import state_folder
from agent.secrets import masked


def fault() -> Ending:
    """For the exception that is being handled. A full disk is nobody's mistake: an EnvironmentProblem."""
    if full := no_space(sys.exception()):
        return full
    path = state_folder() / "faults" / f"{time.strftime('%Y%m%d-%H%M%S')}-{os.getpid()}.txt"
    try:
        path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        path.write_text(masked(traceback.format_exc()), encoding="utf-8")
    except OSError:
        return Fault("Ostro failed by a mistake of its own, and could not write down its details.")
    return Fault(f"Ostro failed by a mistake of its own; {path} holds the details.")
