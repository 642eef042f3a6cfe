"""Packs a model's routed experts, in a process of its own, because it loads torch.

    python -I -m engine.converting SOURCE TARGET FORM

prints "DONE TOTAL" in bytes, a line for each step. What goes wrong is one sentence on standard error, with
exit code 3. Killed at any moment, the same call goes on from there.
"""

from __future__ import annotations

import sys
from pathlib import Path

from engine.checkpoints import open_checkpoint
from engine.errors import EngineError
from engine.experts import convert

FAILED = 3


def main(source: str, target: str, form: str) -> int:
    try:
        convert(open_checkpoint(Path(source)), Path(target), form=form, progress=_tell)
    except EngineError as error:
        print(error, file=sys.stderr)
        return FAILED
    except KeyboardInterrupt:
        return 130
    return 0


def _tell(done: int, total: int) -> None:
    print(done, total, flush=True)


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
