"""The models' own chat templates, where llama.cpp's source is at hand.

They are not ours to keep here. OSTRO_TEMPLATES names a folder that has them: `models/templates` of llama.cpp,
which the source archive of its Python package holds (vendor/llama.cpp/models/templates).
"""

from __future__ import annotations

import datetime
import json
import os
from pathlib import Path
from typing import Any

import pytest
from jinja2.sandbox import ImmutableSandboxedEnvironment

from engine.request import ChatRequest

TODAY = datetime.date(2026, 3, 16)


def template(name: str) -> str:
    folder = os.environ.get("OSTRO_TEMPLATES")
    if not folder:
        pytest.skip("OSTRO_TEMPLATES names no folder with llama.cpp's models/templates")
    return (Path(folder) / name).read_text(encoding="utf-8")


def by_template(text: str, request: ChatRequest, **options: Any) -> str:
    """A template's rendering, in an environment like that of transformers."""
    environment = ImmutableSandboxedEnvironment(
        trim_blocks=True, lstrip_blocks=True, extensions=["jinja2.ext.loopcontrols"]
    )
    environment.filters["tojson"] = lambda value: json.dumps(value, ensure_ascii=False)

    def refuse(message: str) -> None:
        raise ValueError(message)

    environment.globals["raise_exception"] = refuse
    environment.globals["strftime_now"] = TODAY.strftime
    messages = [_plain(message) for message in request.messages]
    tools = [{"type": "function", "function": tool.model_dump()} for tool in request.tools]
    return environment.from_string(text).render(
        messages=messages, tools=tools or None, add_generation_prompt=True, bos_token="<s>", **options
    )


def _plain(message: Any) -> dict[str, Any]:
    told: dict[str, Any] = {"role": message.role, "content": message.content}
    if message.thinking:
        told |= {"thinking": message.thinking, "reasoning_content": message.thinking}
    if message.tool_calls:
        told["tool_calls"] = [
            {"function": {"name": call.name, "arguments": json.loads(call.arguments)}}
            for call in message.tool_calls
        ]
    return told
