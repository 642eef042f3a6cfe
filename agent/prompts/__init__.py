"""Prompts are Markdown files in this folder; `{name}` stands for what is filled in."""

from __future__ import annotations

from functools import cache
from importlib.resources import files


@cache
def _template(name: str) -> str:
    return files(__name__).joinpath(f"{name}.md").read_text(encoding="utf-8").strip()


def prompt(name: str, **values: str) -> str:
    """The text of `<name>.md`, each `{key}` replaced; nothing else in it is interpreted."""
    text = _template(name)
    for key, value in values.items():
        text = text.replace("{" + key + "}", value)
    return text
