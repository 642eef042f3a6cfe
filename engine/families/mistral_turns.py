"""A conversation as mistral-common normalises it: neighbours joined, results in order."""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from itertools import groupby

from engine.request import Message, ToolCall

JOIN = "\n\n"


@dataclass(frozen=True)
class Image:
    """A place for an image, by its hash."""

    name: str


@dataclass(frozen=True)
class Thought:
    text: str


Chunk = str | Image | Thought


@dataclass(frozen=True)
class Turn:
    """One message of the template. `chunks` holds no two texts in a row."""

    role: str
    chunks: tuple[Chunk, ...] = ()
    calls: tuple[ToolCall, ...] = ()
    call_id: str | None = None
    token_ids: tuple[int, ...] | None = None

    @property
    def text(self) -> str:
        return "".join(chunk for chunk in self.chunks if isinstance(chunk, str))

    def has(self, kind: type) -> bool:
        return any(isinstance(chunk, kind) for chunk in self.chunks)


@dataclass
class _Order:
    """Ids of the calls that wait for results, in the order they were made."""

    ids: list[str] = field(default_factory=list)

    def place(self, message: Message) -> int:
        return self.ids.index(message.tool_call_id) if message.tool_call_id in self.ids else len(self.ids)


def turns(messages: Sequence[Message], *, by_order: bool, thoughts: bool) -> list[Turn]:
    """Neighbours of one role are one turn, but for results, system prompts and turns that come as tokens.

    `by_order`: a template without call ids matches results to calls by their order, so they are put into it.
    `thoughts`: whether the template has a place for them.
    """
    if not thoughts:
        messages = [message.model_copy(update={"thinking": ""}) for message in messages]
    made: list[Turn] = []
    order = _Order()
    for role, group in groupby(messages, key=lambda message: message.role):
        together = list(group)
        if role == "tool":
            if by_order:
                together.sort(key=order.place)
            made += [Turn("tool", _chunks([message]), call_id=message.tool_call_id) for message in together]
            order.ids.clear()
        elif role == "system":
            made += [Turn("system", _chunks([message])) for message in together]
        elif role == "user":
            made.append(Turn("user", _image_first(_chunks(together))))
        else:
            made += _assistant(together)
            order.ids += [call.id for message in together for call in message.tool_calls]
    return made


def _assistant(messages: Sequence[Message]) -> Iterable[Turn]:
    """What the engine generated stays as it was; what is given as text is joined."""
    for fed_back, group in groupby(messages, key=lambda message: message.token_ids is not None):
        together = list(group)
        if fed_back:
            yield from (Turn("assistant", token_ids=message.token_ids) for message in together)
            continue
        calls = tuple(call for message in together for call in message.tool_calls)
        yield Turn("assistant", _chunks(together), calls)


def _chunks(messages: Sequence[Message]) -> tuple[Chunk, ...]:
    """Thought or images, then text, of each message; texts of two that meet are joined by a blank line."""
    chunks: list[Chunk] = []
    for message in messages:
        chunks += [Thought(message.thinking)] if message.thinking else []
        chunks += [Image(name) for name in message.images]
        if not message.content:
            continue
        if chunks and isinstance(chunks[-1], str):
            chunks[-1] = chunks[-1] + JOIN + message.content
        else:
            chunks.append(message.content)
    return tuple(chunks)


def _image_first(chunks: tuple[Chunk, ...]) -> tuple[Chunk, ...]:
    """One image that follows a text is put before it, as the models were trained."""
    if len(chunks) == 2 and isinstance(chunks[0], str) and isinstance(chunks[1], Image):
        return chunks[1], chunks[0]
    return chunks


def arguments_text(call: ToolCall) -> str:
    """The arguments as the template writes them; what is no JSON is shown as the model wrote it."""
    try:
        return json.dumps(json.loads(call.arguments or "{}"), ensure_ascii=False)
    except (ValueError, RecursionError):
        return call.arguments
