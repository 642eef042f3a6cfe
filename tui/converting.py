"""`ostro models convert`: writes a model's packed form beside it, by a process that may be interrupted."""

from __future__ import annotations

import signal
import subprocess
import sys
from pathlib import Path

from engine.catalogue import resolve
from engine.errors import EngineError
from tui.models import ModelProgress
from tui.standard_output import complain, say

FORMS = {4: "int4", 8: "int8", 16: "bfloat16"}
INTERRUPTED = 130


def convert_model(ref: str, target: Path | None, *, bits: int = 4) -> int:
    """Packs the experts of a model folder or GGUF file. Returns the exit code. Raises EngineError."""
    source = resolve(ref)
    place = target or source.with_name(f"{source.name.removesuffix('.gguf')}-{bits}bit")
    told = [str(source), str(place.absolute()), FORMS[bits]]
    command = [sys.executable, "-I", "-m", "engine.converting", *told]
    progress = ModelProgress(place.name)
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        assert process.stdout and process.stderr
        try:
            for line in process.stdout:
                done, total = map(int, line.split())
                progress.show("packing", done, total)
            said = process.stderr.read()
            status = process.wait()
        except KeyboardInterrupt:
            process.send_signal(signal.SIGINT)
            process.wait()
            status, said = INTERRUPTED, ""
        finally:
            progress.close()
    if status == INTERRUPTED:
        complain("Interrupted; the same command goes on from here.")
        return INTERRUPTED
    if status != 0:
        lines = said.strip().splitlines()
        raise EngineError(lines[-1] if lines else f"Packing {source} was ended; memory may be short.")
    say(f"{source.name} is packed: {place}")
    return 0
