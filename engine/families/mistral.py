"""Mistral's models: the templates v1 and v3 to v15, token for token as mistral-common 1.13 encodes them.

| Version | Models | Calls and results | Effort |
|---|---|---|---|
| v1 | Mixtral 8x7B | none: its marks are text, and it knows no tools | none |
| v3 | Mixtral 8x22B, Nemo, Pixtral 12B | a JSON list; results with call ids, in JSON | none |
| v7 | Small 3, 3.1, Pixtral Large | a JSON list; results with call ids | none |
| v11 | Small 3.2 | `name[CALL_ID]id[ARGS]{…}`; results with call ids | none |
| v13 | Devstral 2507, Magistral 2507, Ministral 3 | `name[ARGS]{…}`; results by order | by a prompt |
| v15 | Small 4, Medium 3.5 | as v13 | in the model settings |

Tools and settings stand once: before the last user turn up to v11, so that a new turn changes the prompt from
there on, and before the first from v13 on, so that a conversation only grows. Checked against mistral-common
for all six; which model is of which version is from their cards and chat templates, not from weights.
"""

from __future__ import annotations

import functools
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Literal

from engine.errors import EngineError, UnsupportedModel
from engine.families.mistral_reader import ARGS, CALL_ID, CALLS, THINK, THINK_CLOSE, MistralReader
from engine.families.mistral_turns import JOIN, Image, Thought, Turn, arguments_text, turns
from engine.families.prompt import Part, Special, encode_parts, render_parts
from engine.families.vocabulary import Pictures, Vocabulary
from engine.request import ChatRequest, Effort, ToolCall

BEGIN, END = "<s>", "</s>"
SYSTEM, SYSTEM_CLOSE = "[SYSTEM_PROMPT]", "[/SYSTEM_PROMPT]"
TOOLS, TOOLS_CLOSE = "[AVAILABLE_TOOLS]", "[/AVAILABLE_TOOLS]"
SETTINGS, SETTINGS_CLOSE = "[MODEL_SETTINGS]", "[/MODEL_SETTINGS]"
USER, USER_CLOSE = "[INST]", "[/INST]"
RESULT, RESULT_CLOSE, RESULT_CONTENT = "[TOOL_RESULTS]", "[/TOOL_RESULTS]", "[TOOL_CONTENT]"
IMAGE_BREAK, IMAGE_END = "[IMG_BREAK]", "[IMG_END]"

NEEDED = {
    1: (BEGIN, END),
    3: (TOOLS, TOOLS_CLOSE, USER, USER_CLOSE, RESULT, RESULT_CLOSE, CALLS),
    7: (SYSTEM, SYSTEM_CLOSE, RESULT_CONTENT),
    11: (ARGS, CALL_ID),
    13: (),
    15: (THINK, THINK_CLOSE, SETTINGS, SETTINGS_CLOSE),
}
"""Special tokens that each version has need of, beside those of the versions before it."""


def version_of(vocabulary: Vocabulary) -> int:
    """Of the template: what tekken.json says, else by the newest mark of chat template or tokens."""
    said = getattr(vocabulary, "version", None)
    if said is not None:
        number = int(str(said).removeprefix("v"))
        if number not in NEEDED:
            raise UnsupportedModel(f"Mistral's template {said} is not supported; v1 and v3 to v15 are.")
        return number
    template = str(getattr(vocabulary, "chat_template", ""))
    marks = template or " ".join(vocabulary.special)
    if SETTINGS in marks:
        return 15
    if template and CALL_ID in template:
        return 11
    if THINK in marks or (template and ARGS in template):
        return 13
    if ARGS in marks:
        return 11
    if USER not in vocabulary.special:
        return 1
    return 7 if SYSTEM in marks else 3


class Mistral:
    """One family for all versions; `effort` and `images` follow from the version and its tokens."""

    name = "mistral"

    def __init__(self, vocabulary: Vocabulary, version: int | None = None):
        """Raises UnsupportedModel where the vocabulary lacks a token that the template needs."""
        self._vocabulary = vocabulary
        self.version = version_of(vocabulary) if version is None else version
        needed = [token for number, tokens in NEEDED.items() if number <= self.version for token in tokens]
        lacking = [token for token in needed if token not in vocabulary.special]
        if lacking:
            raise UnsupportedModel(
                f"This model's vocabulary lacks {lacking[0]}, which Mistral's template v{self.version} needs."
            )
        thinks = THINK in vocabulary.special and THINK_CLOSE in vocabulary.special and self.version >= 13
        self.effort: Literal["native", "prompted", "unsupported"] = (
            "unsupported" if not thinks else "native" if self.version >= 15 else "prompted"
        )
        self.effort_at_start = thinks
        self.images = IMAGE_BREAK in vocabulary.special and IMAGE_END in vocabulary.special
        self.end_ids = frozenset({vocabulary.special[END]})
        self.think_close = (vocabulary.special[THINK_CLOSE],) if thinks else ()

    def encode(self, request: ChatRequest, pictures: Pictures | None = None) -> list[int]:
        """Ids of the whole prompt; where the last turn is closed, the answer begins."""
        return encode_parts(self.parts(request, pictures or {}), self._vocabulary)

    def render(self, request: ChatRequest) -> str:
        """The prompt as text, without images."""
        return render_parts(self.parts(request, {}), self._vocabulary)

    def opening(self, request: ChatRequest) -> tuple[int, ...]:
        """Nothing: where it was asked to, the model opens its thought itself."""
        return ()

    def parser(self, request: ChatRequest) -> MistralReader:
        return MistralReader(
            self._vocabulary,
            listed=self.version < 11,
            tools=[tool.name for tool in request.tools],
            stop=request.stop,
            ids=f"call_{len(request.messages)}",
        )

    def parts(self, request: ChatRequest, pictures: Pictures) -> Iterator[Part]:
        made = turns(request.messages, by_order=self.version >= 11, thoughts=self.effort != "unsupported")
        prefix = ""
        if self.version < 7:  # system prompts stand in the last user turn
            prefix = "".join(turn.text + JOIN for turn in made if turn.role == "system")
            made = [turn for turn in made if turn.role != "system"]
            made = made if made and made[0].role == "user" else [Turn("user"), *made]
        users = [n for n, turn in enumerate(made) if turn.role == "user"]
        yield Special(BEGIN)
        if self.effort == "prompted" and request.effort is Effort.HIGH:
            yield from _asked_to_think(made[0] if made and made[0].role == "system" else None)
            made, users = (made[1:], [n - 1 for n in users]) if made[0].role == "system" else (made, users)
        for n, turn in enumerate(made):
            if turn.role == "system":
                yield from (Special(SYSTEM), turn.text, Special(SYSTEM_CLOSE))
            elif self.version == 1 and turn.role != "assistant":
                yield from self._first_user(turn, prefix if n == users[0] else "", request)
            elif turn.role == "tool":
                yield from self._result(turn, pictures)
            elif turn.role == "assistant":
                yield from self._assistant(turn)
            else:
                if n == (users[0] if self.version >= 13 else users[-1]):
                    yield from self._before_user(request)
                yield Special(USER)
                if prefix and n == users[-1]:
                    yield prefix
                    yield from [()] if turn.has(Image) else []
                yield from self._chunks(turn, pictures)
                yield Special(USER_CLOSE)

    def _first_user(self, turn: Turn, prefix: str, request: ChatRequest) -> Iterator[Part]:
        """A turn of v1, where the marks around it are text."""
        if request.tools or turn.role == "tool":
            raise EngineError(
                "This model's template (v1) knows no tools; ask a newer one, such as Mixtral 8x22B."
            )
        if turn.has(Image):
            raise EngineError("This model's template has no place for images; ask a model that sees.")
        yield f"{USER} {prefix}{turn.text} {USER_CLOSE}"
        yield ()  # what follows is encoded on its own

    def _before_user(self, request: ChatRequest) -> Iterator[Part]:
        if request.tools:
            tools: list[dict[str, Any]] = [
                {"type": "function", "function": tool.model_dump()} for tool in request.tools
            ]
            yield from (Special(TOOLS), json.dumps(tools, ensure_ascii=False), Special(TOOLS_CLOSE))
        if self.version >= 15:
            settings = json.dumps({"reasoning_effort": request.effort.value})
            yield from (Special(SETTINGS), settings, Special(SETTINGS_CLOSE))

    def _chunks(self, turn: Turn, pictures: Pictures) -> Iterator[Part]:
        for chunk in turn.chunks:
            if isinstance(chunk, Image):
                yield self._image(chunk, pictures)
            elif isinstance(chunk, Thought):
                yield from (Special(THINK), chunk.text, Special(THINK_CLOSE))
            else:
                yield chunk

    def _image(self, image: Image, pictures: Pictures) -> tuple[int, ...]:
        """Rows of places, each closed by a token of its own."""
        if not self.images:
            raise EngineError("This model's template has no place for images; ask a model that sees.")
        picture = pictures[image.name]
        row_end = self._vocabulary.special[IMAGE_BREAK]
        ids: list[int] = []
        for row in range(picture.rows):
            ids += [picture.place(row * picture.columns + n) for n in range(picture.columns)]
            ids.append(row_end)
        ids[-1] = self._vocabulary.special[IMAGE_END]
        return tuple(ids)

    def _assistant(self, turn: Turn) -> Iterator[Part]:
        if turn.token_ids is not None:
            ids = turn.token_ids
            yield ids[:-1] if ids and ids[-1] in self.end_ids else ids
        else:
            said = turn.text if self.version == 1 else turn.text.rstrip(" ")
            yield from self._chunks(turn, {}) if turn.has(Thought) else [said]
            yield from self._calls(turn.calls)
        yield Special(END)

    def _calls(self, calls: tuple[ToolCall, ...]) -> Iterator[Part]:
        if calls and self.version < 11:
            yield Special(CALLS)
            yield f"[{', '.join(_listed(call) for call in calls)}]"
            return
        for call in calls:
            yield from (Special(CALLS), call.name)
            if self.version < 13 and call.id:
                yield from (Special(CALL_ID), call.id)
            yield from (Special(ARGS), arguments_text(call))

    def _result(self, turn: Turn, pictures: Pictures) -> Iterator[Part]:
        if turn.has(Image) and self.version < 15:
            raise EngineError("This model sees images in turns of the user alone, not in results of tools.")
        yield Special(RESULT)
        if self.version >= 15:
            yield from self._chunks(turn, pictures)
        elif self.version >= 13:
            yield turn.text
        elif self.version >= 7:
            yield from (turn.call_id or "", Special(RESULT_CONTENT), turn.text)
        else:
            yield json.dumps(
                {"content": _value(turn.text), "call_id": turn.call_id or ""}, ensure_ascii=False
            )
        yield Special(RESULT_CLOSE)


@functools.cache
def thinking_prompt() -> tuple[Part, ...]:
    """The system prompt that Magistral was trained to think by; its own marks in it are tokens."""
    text = Path(__file__).with_name("mistral_thinking.md").read_text(encoding="utf-8").strip()
    before, _, rest = text.partition(THINK)
    thought, _, after = rest.partition(THINK_CLOSE)
    return before, Special(THINK), thought, Special(THINK_CLOSE), after


def _asked_to_think(system: Turn | None) -> Iterator[Part]:
    yield from (Special(SYSTEM), *thinking_prompt())
    yield f"{JOIN}{system.text}" if system else ""
    yield Special(SYSTEM_CLOSE)


def _listed(call: ToolCall) -> str:
    name = json.dumps(call.name, ensure_ascii=False)
    ending = f', "id": {json.dumps(call.id)}' if call.id else ""
    return f'{{"name": {name}, "arguments": {arguments_text(call)}{ending}}}'


def _value(text: str) -> Any:
    """Of a result: v3 shows JSON as JSON, not as a string of it."""
    try:
        return json.loads(text or "{}")
    except (ValueError, RecursionError):
        return text
