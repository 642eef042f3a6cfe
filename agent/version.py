"""Which Ostro this is."""

from __future__ import annotations

from importlib import metadata


def version() -> str:
    """Of the installed package; a tree that is not installed has none."""
    try:
        return metadata.version("ostro")
    except metadata.PackageNotFoundError:
        return "0+source"
