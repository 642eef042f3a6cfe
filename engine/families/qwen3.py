"""Qwen3's mixtures of experts: Qwen3 and Qwen3-Coder (qwen3_moe), Qwen3-Next, Qwen3.5-MoE.

One architecture is published with several templates, so the model's own template says which it is: calls in
JSON or in XML (`<function=`), thinking that can be switched off (`enable_thinking`), always there, or never.

Checked against the models' own Jinja as llama.cpp keeps them: Qwen-Qwen3-0.6B (JSON, switch), Qwen3-Coder
(XML; that copy speaks of "tools" where Qwen's own, found quoted elsewhere, has "functions" and a longer note
on calls: the words are Qwen's here) and Qwen3.5-4B (XML, switch; the MoE's is taken to be the same). Not
checked: Qwen3-Next's, of which no public copy was found; Qwen3's is used for it.

Two deviations. Where thinking can be switched, the answer is opened with the thought's mark, or with an empty
thought, as a part of the answer. And thoughts stay in the history, which is fed back token for token.
"""

from __future__ import annotations

import functools
import json
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Literal

from engine.errors import UnsupportedModel
from engine.families.calls import CALL_CLOSE, CALL_OPEN
from engine.families.prompt import Part, Special, encode_parts, render_parts
from engine.families.qwen2 import CALL_FORM, END, TEXT_END, TOOLS_FOOT, TOOLS_HEAD, TURN
from engine.families.qwen3_reader import Qwen3Reader
from engine.families.stream import THINK_CLOSE, THINK_OPEN
from engine.families.vocabulary import Pictures, Vocabulary
from engine.families.xml_tools import declarations
from engine.request import ChatRequest, Effort, Message, ToolCall

RESULT, RESULT_CLOSE = "<tool_response>", "</tool_response>"
CODER_SYSTEM = "You are Qwen, a helpful AI assistant that can interact with a computer to solve tasks."
XML_HEAD = "You have access to the following functions:\n\n<tools>"
MARKS = (CALL_OPEN, CALL_CLOSE, THINK_OPEN, THINK_CLOSE, RESULT, RESULT_CLOSE)
_MARK = re.compile("|".join(MARKS))

Form = Literal["json", "coder", "xml"]
Thinking = Literal["never", "switch", "always"]
DEFAULTS: Mapping[str, tuple[Form, Thinking]] = {
    "qwen3_moe": ("coder", "never"),
    "qwen3_next": ("json", "never"),
    "qwen3_5_moe": ("xml", "switch"),
}
"""Where no template comes with the model: the one of each story's agent model."""


def kind_of(template: str, default: tuple[Form, Thinking]) -> tuple[Form, Thinking]:
    """How calls are written and whether the model thinks, by its chat template."""
    if not template:
        return default
    form: Form = "json"
    if "<function=" in template:
        form = "coder" if "<description>" in template else "xml"
    if "enable_thinking" in template:
        return form, "switch"
    opened = template.rpartition("add_generation_prompt")[2]
    return form, "always" if THINK_OPEN in opened else "never"


class Qwen3:
    name = "qwen3"
    effort_at_start = False
    images = False

    def __init__(self, vocabulary: Vocabulary, default: tuple[Form, Thinking] = ("json", "never")):
        """Raises UnsupportedModel where the vocabulary lacks a token that the format needs."""
        self._vocabulary = vocabulary
        self.form, self.thinking = kind_of(str(getattr(vocabulary, "chat_template", "")), default)
        thought = () if self.thinking == "never" else (THINK_OPEN, THINK_CLOSE)
        for token in (TURN, END, CALL_OPEN, CALL_CLOSE, *thought):
            if token not in vocabulary.special:
                raise UnsupportedModel(f"This model's vocabulary lacks {token}: it is no Qwen3 chat model.")
        self.effort: Literal["native", "prompted", "unsupported"] = (
            "native" if self.thinking == "switch" else "unsupported"
        )
        self.end_ids = frozenset(
            vocabulary.special[token] for token in (END, TEXT_END) if token in vocabulary.special
        )
        self.think_close = tuple(self._ids("\n", Special(THINK_CLOSE), "\n\n")) if thought else ()

    def encode(self, request: ChatRequest, pictures: Pictures | None = None) -> list[int]:
        return encode_parts(self.parts(request), self._vocabulary)

    def render(self, request: ChatRequest) -> str:
        """The prompt as text, as the model's own template writes it."""
        return render_parts(self.parts(request), self._vocabulary)

    def opening(self, request: ChatRequest) -> tuple[int, ...]:
        if self.thinking == "never":
            return ()
        if self._thinks(request):
            return tuple(self._ids(Special(THINK_OPEN), "\n"))
        return tuple(self._ids(Special(THINK_OPEN), "\n\n", Special(THINK_CLOSE), "\n\n"))

    def parser(self, request: ChatRequest) -> Qwen3Reader:
        return Qwen3Reader(
            self._vocabulary,
            request.tools,
            xml=self.form != "json",
            thinking=self._thinks(request),
            stop=request.stop,
            ids=f"call_{len(request.messages)}",
        )

    def _thinks(self, request: ChatRequest) -> bool:
        return self.thinking == "always" or (self.thinking == "switch" and request.effort is Effort.HIGH)

    def _ids(self, *parts: Part) -> list[int]:
        return encode_parts(parts, self._vocabulary)

    def parts(self, request: ChatRequest) -> Iterator[Part]:
        messages = request.messages
        first = messages[0].content if messages and messages[0].role == "system" else None
        yield from self._system(request, first)
        users = [at for at, message in enumerate(messages) if message.role == "user"]
        for at, message in enumerate(messages):
            if message.role == "assistant":
                yield from self._assistant(message, recent=at > max(users, default=0))
            elif message.role == "tool":
                yield from self._result(messages, at)
            elif at or message.role == "user":
                yield from (Special(TURN), f"{message.role}\n{self._trimmed(message.content)}")
                yield from (Special(END), "\n")
        yield from (Special(TURN), "assistant\n")

    def _trimmed(self, text: str) -> str:
        return text.strip() if self.form == "xml" else text

    def _system(self, request: ChatRequest, said: str | None) -> Iterator[Part]:
        if not request.tools:
            if said is not None:
                yield from (Special(TURN), f"system\n{self._trimmed(said)}", Special(END), "\n")
            return
        yield from (Special(TURN), "system\n")
        functions = [{"type": "function", "function": tool.model_dump()} for tool in request.tools]
        lines = "".join("\n" + json.dumps(function, ensure_ascii=False) for function in functions)
        if self.form == "json":
            yield (f"{said}\n\n" if said is not None else "") + TOOLS_HEAD.lstrip() + lines
            yield from (TOOLS_FOOT, Special(CALL_OPEN), Special(CALL_CLOSE), " XML tags:\n")
            yield from (Special(CALL_OPEN), CALL_FORM, Special(CALL_CLOSE))
        elif self.form == "coder":
            yield f"{CODER_SYSTEM if said is None else said}\n\n# Tools\n\n{XML_HEAD}"
            yield f"{declarations(request.tools)}\n</tools>\n\n"
            yield from instructions()
        else:
            yield f"# Tools\n\n{XML_HEAD}{lines}\n</tools>\n\n"
            yield from instructions()
            yield f"\n\n{said.strip()}" if said and said.strip() else ""
        yield from (Special(END), "\n")

    def _result(self, messages: tuple[Message, ...], at: int) -> Iterator[Part]:
        follows = at > 0 and messages[at - 1].role == "tool"
        before, after = ("", "\n") if self.form == "coder" else ("\n", "")
        yield from () if follows else (Special(TURN), "user\n" if self.form == "coder" else "user")
        text = self._trimmed(messages[at].content)
        yield from (before, Special(RESULT), f"\n{text}\n", Special(RESULT_CLOSE), after)
        if at + 1 == len(messages) or messages[at + 1].role != "tool":
            yield from (Special(END), "\n")

    def _assistant(self, message: Message, *, recent: bool) -> Iterator[Part]:
        yield from (Special(TURN), "assistant")
        if message.token_ids is not None:
            ids = message.token_ids
            yield "\n"
            yield ids[:-1] if ids and ids[-1] in self.end_ids else ids
        elif self.form == "coder":
            text = message.content
            if message.tool_calls:
                text = f"{text.strip()}\n" if text.strip() else ""
            yield f"\n{text}" if text or not message.tool_calls else ""
            for call in message.tool_calls:
                yield from ("\n", *_xml(call))
        else:
            yield from ("\n", *self._said(message, recent))
        yield from (Special(END), "\n")

    def _said(self, message: Message, recent: bool) -> Iterator[Part]:
        text = self._trimmed(message.content)
        thought = message.thinking if self.thinking != "never" else ""
        if recent and (thought or (self.form == "xml" and self.thinking != "never")):
            thought = thought.strip() if self.form == "xml" else thought.strip("\n")
            yield from (Special(THINK_OPEN), f"\n{thought}\n", Special(THINK_CLOSE), "\n\n")
            text = text.lstrip("\n")
        yield text
        for n, call in enumerate(message.tool_calls):
            gap = "\n\n" if self.form == "xml" and text and not n else "\n" if n or text else ""
            yield gap
            yield from _xml(call) if self.form == "xml" else _json(call)


def _json(call: ToolCall) -> Iterator[Part]:
    try:
        arguments = json.dumps(json.loads(call.arguments), ensure_ascii=False)
    except (ValueError, RecursionError):
        arguments = call.arguments
    yield from (Special(CALL_OPEN), f'\n{{"name": "{call.name}", "arguments": {arguments}}}\n')
    yield Special(CALL_CLOSE)


def _xml(call: ToolCall) -> Iterator[Part]:
    yield from (Special(CALL_OPEN), f"\n<function={call.name}>\n")
    try:
        arguments = json.loads(call.arguments or "{}")
    except (ValueError, RecursionError):
        arguments = None
    if not isinstance(arguments, dict):
        yield call.arguments  # no arguments object: shown as the model wrote it
    else:
        for name, value in arguments.items():
            yield f"<parameter={name}>\n{_shown(value)}\n</parameter>\n"
    yield from ("</function>\n", Special(CALL_CLOSE))


def _shown(value: Any) -> str:
    """Lists and objects as JSON; of the others the templates know Python's spelling alone, True and None."""
    return json.dumps(value, ensure_ascii=False) if isinstance(value, (dict, list)) else str(value)


@functools.cache
def instructions() -> tuple[Part, ...]:
    """How to write a call, in the models' own words; the marks in them are tokens."""
    text = Path(__file__).with_name("qwen3_calls.md").read_text(encoding="utf-8").strip()
    parts: list[Part] = []
    at = 0
    for mark in _MARK.finditer(text):
        parts += [text[at : mark.start()], Special(mark[0])]
        at = mark.end()
    return (*parts, text[at:])
