"""One attack, run without a sandbox and then in one: it prints WORKED where it worked."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable

import pytest

from sandbox import Sandbox

from .conftest import Opener

WORKED = "WORKED"
PRELUDE = """
import ctypes, fcntl, glob, os, signal, socket, struct, sys
libc = ctypes.CDLL(None, use_errno=True)
libc.syscall.restype = ctypes.c_long
def call(*words):
    result = libc.syscall(*(ctypes.c_long(w) if isinstance(w, int) else w for w in words))
    if result < 0:
        raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))
    return result
"""
bare_and_sandboxed = pytest.mark.parametrize("bare", [True, False], ids=["bare", "sandboxed"])
root_only = pytest.mark.skipif(os.getuid() != 0, reason="only root could do this without a sandbox")


async def python(box: Sandbox, program: str, *argv: str) -> str:
    """The output of a program, whatever became of it."""
    done = await box.workspace.run(
        [os.path.realpath(sys.executable), "-I", "-S", "-c", PRELUDE + program, *argv], seconds=30
    )
    return done.output


async def breaks_out(
    open_sandbox: Opener,
    program: str,
    *argv: str,
    ready: Callable[[], None] = lambda: None,
    rare: bool = False,
) -> str:
    """What the sandbox let `program` print. Skips where it does not work without a sandbox either.

    In CI that is a failure, for root: an attack that never works holds nothing. `rare` are those that a
    kernel need not have.

    `ready` is called before each of the two runs.
    """
    ready()
    bare = await python(await open_sandbox(unsafe=True), program, *argv)
    if WORKED not in bare:
        void = f"does not work here without a sandbox either: {' '.join(bare.split())[-120:]}"
        if os.environ.get("CI") and os.getuid() == 0 and not rare:
            pytest.fail(void)
        pytest.skip(void)
    ready()
    return await python(await open_sandbox(), program, *argv)
