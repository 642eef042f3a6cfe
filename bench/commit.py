"""Of which commit a figure is."""

from __future__ import annotations

import subprocess
from pathlib import Path


def commit() -> str:
    """Short; "unknown" where this is no checkout."""
    done = subprocess.run(
        ["git", "rev-parse", "--short", "HEAD"], capture_output=True, text=True, check=False,
        cwd=Path(__file__).parent,
    )  # fmt: skip
    return done.stdout.strip() or "unknown"
