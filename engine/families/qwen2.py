"""Qwen2 and Qwen2.5: ChatML turns, calls in `<tool_call>` marks, thinking only by prompt."""

from __future__ import annotations

import functools
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Literal

from engine.errors import UnsupportedModel
from engine.families.calls import CALL_CLOSE, CALL_OPEN
from engine.families.prompt import Part, Special, encode_parts, render_parts
from engine.families.reader import TextReader
from engine.families.stream import THINK_CLOSE, THINK_OPEN
from engine.families.vocabulary import Pictures, Vocabulary
from engine.request import ChatRequest, Effort, Message, ToolCall, ToolSpec

TURN, END, TEXT_END = "<|im_start|>", "<|im_end|>", "<|endoftext|>"
DEFAULT_SYSTEM = "You are Qwen, created by Alibaba Cloud. You are a helpful assistant."
TOOLS_HEAD = (
    "\n\n# Tools\n\nYou may call one or more functions to assist with the user query.\n\n"
    "You are provided with function signatures within <tools></tools> XML tags:\n<tools>"
)
TOOLS_FOOT = (
    "\n</tools>\n\nFor each function call, return a json object with function name and arguments within "
)
CALL_FORM = '\n{"name": <function-name>, "arguments": <args-json-object>}\n'


class Qwen2:
    name = "qwen2"
    effort: Literal["native", "prompted", "unsupported"] = "prompted"
    effort_at_start = False
    images = False

    def __init__(self, vocabulary: Vocabulary):
        """Raises UnsupportedModel where the vocabulary lacks a token that the format needs."""
        self._vocabulary = vocabulary
        for token in (TURN, END, TEXT_END):
            if token not in vocabulary.special:
                raise UnsupportedModel(f"This model's vocabulary lacks {token}: it is no Qwen2 chat model.")
        self.end_ids = frozenset(vocabulary.special[token] for token in (END, TEXT_END))
        self.think_open = tuple(vocabulary.encode(f"{THINK_OPEN}\n"))
        self.think_close = tuple(vocabulary.encode(f"\n{THINK_CLOSE}\n\n"))

    def encode(self, request: ChatRequest, pictures: Pictures | None = None) -> list[int]:
        """Ids of the whole prompt, the assistant's turn opened."""
        return encode_parts(self.parts(request), self._vocabulary)

    def render(self, request: ChatRequest) -> str:
        """The prompt as text, as the model's own template writes it."""
        return render_parts(self.parts(request), self._vocabulary)

    def opening(self, request: ChatRequest) -> tuple[int, ...]:
        return self.think_open if request.effort is Effort.HIGH else ()

    def parser(self, request: ChatRequest) -> TextReader:
        return TextReader(
            self._vocabulary,
            tools=[tool.name for tool in request.tools],
            stop=request.stop,
            thinking=request.effort is Effort.HIGH,
            ids=f"call_{len(request.messages)}",
        )

    def parts(self, request: ChatRequest) -> Iterator[Part]:
        messages = request.messages
        has_system = bool(messages) and messages[0].role == "system"
        yield from (Special(TURN), "system\n", messages[0].content if has_system else DEFAULT_SYSTEM)
        if request.tools:
            yield from _tools(request.tools)
        yield from (Special(END), "\n")
        for at in range(1 if has_system else 0, len(messages)):
            yield from self._message(request, at)
        yield from (Special(TURN), "assistant\n")

    def _message(self, request: ChatRequest, at: int) -> Iterator[Part]:
        message = request.messages[at]
        if message.role == "assistant":
            yield from self._assistant(message)
            return
        if message.role == "tool":
            follows = at > 0 and request.messages[at - 1].role == "tool"
            yield from () if follows else (Special(TURN), "user")
            yield f"\n<tool_response>\n{message.content}\n</tool_response>"
            if at + 1 < len(request.messages) and request.messages[at + 1].role == "tool":
                return
        else:
            yield from (Special(TURN), f"{message.role}\n{message.content}")
        if self._asked_to_think(request, at):
            yield f"\n\n{thinking_prompt()}"
        yield from (Special(END), "\n")

    def _asked_to_think(self, request: ChatRequest, at: int) -> bool:
        """Whether this turn ends with the thinking prompt.

        The last one does at effort high. An earlier one keeps it where the answer to it was opened by a
        thought: taking it away would change the prompt, and the cached prefix would end there.
        """
        if at + 1 == len(request.messages):
            return request.effort is Effort.HIGH
        answer = request.messages[at + 1]
        if answer.role != "assistant" or not answer.token_ids:
            return False
        return answer.token_ids[: len(self.think_open)] == self.think_open

    def _assistant(self, message: Message) -> Iterator[Part]:
        yield from (Special(TURN), "assistant")
        if message.token_ids is not None:
            ids = message.token_ids
            yield "\n"
            yield ids[:-1] if ids and ids[-1] in self.end_ids else ids
        else:
            if message.content or not message.tool_calls:
                yield f"\n{message.content}"
            for call in message.tool_calls:
                yield from _call(call)
        yield from (Special(END), "\n")


@functools.cache
def thinking_prompt() -> str:
    return Path(__file__).with_name("qwen2_thinking.md").read_text(encoding="utf-8").strip()


def _tools(tools: tuple[ToolSpec, ...]) -> Iterator[Part]:
    yield TOOLS_HEAD
    for tool in tools:
        function = {"name": tool.name, "description": tool.description, "parameters": tool.parameters}
        yield "\n" + json.dumps({"type": "function", "function": function}, ensure_ascii=False)
    yield from (TOOLS_FOOT, Special(CALL_OPEN), Special(CALL_CLOSE), " XML tags:\n")
    yield from (Special(CALL_OPEN), CALL_FORM, Special(CALL_CLOSE))


def _call(call: ToolCall) -> Iterator[Part]:
    try:
        arguments = json.dumps(json.loads(call.arguments), ensure_ascii=False)
    except ValueError:
        arguments = call.arguments  # shown as the model wrote it; the answer to it says what was wrong
    yield from ("\n", Special(CALL_OPEN), f'\n{{"name": "{call.name}", "arguments": {arguments}}}\n')
    yield Special(CALL_CLOSE)
