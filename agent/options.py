"""Everything a run is told before it starts; recorded in its journal, so that it can be resumed."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

from pydantic import BaseModel, ConfigDict, Field

from engine.catalogue import DEFAULT_MODEL

Approve = Literal["auto", "ask", "read-only"]


class RunOptions(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)

    kind: Literal["run", "fix", "session"]
    repo: Path = Path(".")
    """A folder in the git repository; the user's commands run there."""
    task: str | None = None
    command: list[str] | None = None
    """`fix -- CMD`: what must pass."""
    verify: list[str] | None = None
    """`run --verify CMD`: what must pass before the run may call itself done."""
    model: str = DEFAULT_MODEL
    """A model reference."""
    memory: int | None = Field(default=None, ge=1)
    """Bytes that the engine may take for the model; None: what is free, less a reserve."""
    image: tuple[Path, ...] = ()
    """Files of images that come with the first turn; absolute paths."""
    effort: Literal["auto", "none", "high"] = "auto"
    approve: Approve = "auto"
    max_steps: int = Field(default=60, ge=1)
    time_limit: float | None = Field(default=None, gt=0)
    """Seconds for the whole run."""
    seed: int | None = None
    allow_network: tuple[str, ...] = ()
    """Hosts that commands may reach, HOST[:PORT]."""
    unsafe: bool = False
    """Run without a sandbox."""
    commit: bool = False
    """Commit what a run that ended well has changed."""
    resume: str | None = None
    """Session to go on with."""
