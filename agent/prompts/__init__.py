"""Prompts are Markdown files in this folder; `{name}` stands for what is filled in."""

from __future__ import annotations

import re
from functools import cache
from importlib.resources import files

_PLACE = re.compile(r"\{(\w+)\}")


@cache
def _template(name: str) -> str:
    return files(__name__).joinpath(f"{name}.md").read_text(encoding="utf-8").strip()


def prompt(name: str, **values: str) -> str:
    """The text of `<name>.md`, each `{key}` replaced; neither the rest nor a value is interpreted."""
    return _PLACE.sub(lambda place: values.get(place[1], place[0]), _template(name))
