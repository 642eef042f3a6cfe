"""gpt-oss: the harmony format, with channels, and calls that are messages to a recipient.

Checked against the model's own Jinja (openai-gpt-oss-120b.jinja, as llama.cpp keeps it): system and developer
messages, declarations of tools, turns, calls, results, at low and high effort. Not checked: ids of the real
vocabulary, which is in no package. Two deviations: the template drops the thoughts before a final message,
while history here is fed back token for token, so that the kept prefix stays; and it knows one call a turn,
while each of several is written as a message of its own.

Effort is native: `none` asks for low reasoning, as there is no less, `high` for high.
"""

from __future__ import annotations

import datetime
import json
from collections.abc import Iterator
from typing import Literal

from engine.errors import UnsupportedModel
from engine.families.harmony_reader import (
    CALL,
    CHANNEL,
    CONSTRAIN,
    END,
    FUNCTIONS,
    MESSAGE,
    RETURN,
    START,
    HarmonyReader,
)
from engine.families.harmony_tools import namespace
from engine.families.prompt import Part, Special, encode_parts, render_parts
from engine.families.vocabulary import Pictures, Vocabulary
from engine.request import ChatRequest, Effort, Message, ToolCall

IDENTITY = "You are ChatGPT, a large language model trained by OpenAI."
CUTOFF = "2024-06"
CHANNELS = "# Valid channels: analysis, commentary, final. Channel must be included for every message."
TO_TOOLS = "\nCalls to these tools must go to the commentary channel: 'functions'."
REASONING = {Effort.NONE: "low", Effort.HIGH: "high"}


class GptOss:
    name = "gpt-oss"
    effort: Literal["native", "prompted", "unsupported"] = "native"
    effort_at_start = True
    images = False

    def __init__(self, vocabulary: Vocabulary, today: datetime.date | None = None):
        """Raises UnsupportedModel where the vocabulary lacks a token that the format needs.

        `today` stays what it is while the model is loaded: another date would cost every kept prefix.
        """
        self._vocabulary = vocabulary
        self._today = today or datetime.date.today()
        for token in (START, END, MESSAGE, CHANNEL, CONSTRAIN, RETURN, CALL):
            if token not in vocabulary.special:
                raise UnsupportedModel(f"This model's vocabulary lacks {token}: it does not speak harmony.")
        self.end_ids = frozenset(vocabulary.special[token] for token in (RETURN, CALL))
        close = (Special(END), Special(START), "assistant")
        self.think_close = tuple(encode_parts(close, vocabulary))

    def encode(self, request: ChatRequest, pictures: Pictures | None = None) -> list[int]:
        return encode_parts(self.parts(request), self._vocabulary)

    def render(self, request: ChatRequest) -> str:
        """The prompt as text, as the model's own template writes it."""
        return render_parts(self.parts(request), self._vocabulary)

    def opening(self, request: ChatRequest) -> tuple[int, ...]:
        return ()

    def parser(self, request: ChatRequest) -> HarmonyReader:
        return HarmonyReader(
            self._vocabulary,
            tools=[tool.name for tool in request.tools],
            stop=request.stop,
            ids=f"call_{len(request.messages)}",
        )

    def parts(self, request: ChatRequest) -> Iterator[Part]:
        messages = request.messages
        first = messages[0].content if messages and messages[0].role == "system" else ""
        yield from _message("system", self._system(request))
        if first or request.tools:
            instructions = f"# Instructions\n\n{first}\n\n" if first else ""
            tools = f"# Tools\n\n{namespace(request.tools)}" if request.tools else ""
            yield from _message("developer", instructions + tools)
        for at, message in enumerate(messages):
            if message.role == "user":
                yield from _message("user", message.content)
            elif message.role == "assistant":
                yield from self._assistant(messages, at)
            elif message.role == "tool":
                name = _called(messages[:at], message.tool_call_id)
                header = (f"{FUNCTIONS}{name} to=assistant", Special(CHANNEL), "commentary")
                yield from (Special(START), *header, Special(MESSAGE))
                yield from (json.dumps(message.content, ensure_ascii=False), Special(END))
            elif at:  # the template knows one system message; what comes later instructs as well
                yield from _message("developer", f"# Instructions\n\n{message.content}\n\n")
        yield from (Special(START), "assistant")

    def _system(self, request: ChatRequest) -> str:
        return (
            f"{IDENTITY}\nKnowledge cutoff: {CUTOFF}\nCurrent date: {self._today.isoformat()}\n\n"
            f"Reasoning: {REASONING[request.effort]}\n\n{CHANNELS}{TO_TOOLS if request.tools else ''}"
        )

    def _assistant(self, messages: tuple[Message, ...], at: int) -> Iterator[Part]:
        message = messages[at]
        if message.token_ids is not None:
            ids = message.token_ids
            yield from (Special(START), "assistant")
            yield ids[:-1] if ids and ids[-1] in self.end_ids else ids
            yield Special(CALL if message.tool_calls else END)
            return
        if not message.tool_calls:
            yield from _said("final", message.content)
            return
        answered = any(each.role == "assistant" and not each.tool_calls for each in messages[at + 1 :])
        if not answered:
            thought = message.thinking or message.content
            yield from _said("analysis", thought) if thought else ()
        for call in message.tool_calls:
            yield from _call(call)


def _message(role: str, text: str) -> Iterator[Part]:
    yield from (Special(START), role, Special(MESSAGE), text, Special(END))


def _said(channel: str, text: str) -> Iterator[Part]:
    yield from (Special(START), "assistant", Special(CHANNEL), channel, Special(MESSAGE), text, Special(END))


def _call(call: ToolCall) -> Iterator[Part]:
    try:
        arguments = json.dumps(json.loads(call.arguments), ensure_ascii=False)
    except (ValueError, RecursionError):
        arguments = call.arguments  # shown as the model wrote it; the answer to it says what was wrong
    yield from (Special(START), f"assistant to={FUNCTIONS}{call.name}", Special(CHANNEL), "commentary json")
    yield from (Special(MESSAGE), arguments, Special(CALL))


def _called(before: tuple[Message, ...], call_id: str | None) -> str:
    """The name of the tool that a result is of: by its id, else the latest call's."""
    calls = [call for message in before for call in message.tool_calls]
    named = [call.name for call in calls if call.id == call_id] or [call.name for call in calls]
    return named[-1] if named else "unknown"
