"""Changes a repository and records it, again and again, until it is killed. Arguments: repository, seed."""

from __future__ import annotations

import asyncio
import random
import sys
from itertools import count
from pathlib import Path

from sandbox import Sandbox
from tests.chaos import change_something, digest, picture


async def main(repo: Path, seed: int) -> None:
    draw = random.Random(seed)
    async with await Sandbox.open(repo) as box:
        for _ in count():
            change_something(repo, draw)
            before = digest(picture(repo))
            print(await box.workspace.snapshot(), before, flush=True)


if __name__ == "__main__":
    asyncio.run(main(Path(sys.argv[1]), int(sys.argv[2])))
