"""The seam between engine and agent: requests, deltas and answers, as they cross the socket.

Everything here is plain data (pydantic), imports neither torch nor transformers, and is the whole
language that a client of an engine needs. A remote engine speaks the same types and leaves out what
its server cannot tell (see `Capabilities`).
"""

from __future__ import annotations

from enum import StrEnum
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field

MAX_IMAGE_BYTES = 20 * 1024 * 1024
"""Of one image file: it crosses the socket in one frame."""


class Effort(StrEnum):
    """One ladder for the agent. A family maps it natively or by a thinking prompt."""

    NONE = "none"
    HIGH = "high"


class Wire(BaseModel):
    """Base of everything that crosses the seam: unknown fields are a mistake, not data."""

    model_config = ConfigDict(extra="forbid", frozen=True)


class ToolSpec(Wire):
    name: str
    description: str
    parameters: dict[str, Any]
    """JSON schema of the arguments object."""


class ToolCall(Wire):
    id: str
    name: str
    arguments: str
    """JSON text exactly as the model wrote it; not necessarily valid (see `problem`)."""
    problem: str | None = None
    """Why the call cannot be executed, with where in the text; None for a well-formed call."""


class Message(Wire):
    role: Literal["system", "user", "assistant", "tool"]
    content: str = ""
    images: tuple[str, ...] = ()
    """SHA-256 of images that the engine was shown, for turns of user and tool; they stand before the text."""
    thinking: str = ""
    tool_calls: tuple[ToolCall, ...] = ()
    tool_call_id: str | None = None
    token_ids: tuple[int, ...] | None = None
    """What the engine generated for this assistant turn, fed back token for token."""


class Sampling(Wire):
    temperature: float = Field(default=0.0, ge=0.0)
    top_p: float = Field(default=1.0, gt=0.0, le=1.0)
    top_k: int = Field(default=0, ge=0)
    """0 keeps every token."""
    min_p: float = Field(default=0.0, ge=0.0, le=1.0)
    seed: int | None = None


class ChatRequest(Wire):
    messages: tuple[Message, ...]
    tools: tuple[ToolSpec, ...] = ()
    effort: Effort = Effort.NONE
    thinking_budget: int = Field(default=1024, ge=1)
    """At most this many tokens of thinking, at effort high."""
    max_tokens: int = Field(default=2048, ge=1)
    sampling: Sampling = Sampling()
    stop: tuple[str, ...] = ()


class ImageRequest(Wire):
    """Shows the engine an image file, once; requests then name it by its hash."""

    data: str = Field(max_length=MAX_IMAGE_BYTES // 3 * 4 + 4)
    """Base64."""


class ShownImage(Wire):
    sha256: str
    width: int
    height: int
    """Pixels, as it is looked at (rotated where the file says so)."""
    tokens: int
    """What it takes in a prompt."""


class PrefillDelta(Wire):
    """Progress while the prompt is read; `done` and `total` count new tokens only."""

    kind: Literal["prefill"] = "prefill"
    done: int
    total: int


class ThinkingDelta(Wire):
    kind: Literal["thinking"] = "thinking"
    text: str


class TextDelta(Wire):
    kind: Literal["text"] = "text"
    text: str


class ToolCallDelta(Wire):
    """A whole call, once its end was seen (or its text proved malformed)."""

    kind: Literal["tool_call"] = "tool_call"
    call: ToolCall


class Usage(Wire):
    """The last delta of every answer."""

    kind: Literal["usage"] = "usage"
    prompt: int
    """Tokens of the whole prompt."""
    cached: int
    """Of those, how many the KV cache already held."""
    generated: int
    token_ids: tuple[int, ...]
    finish: Literal["stop", "length", "tool_call"]
    prefill_seconds: float
    decode_seconds: float
    mean_logprob: float | None = None
    """Mean log-probability (nats) of the generated tokens; None where the server does not tell."""
    mean_entropy: float | None = None
    """Mean entropy (nats) of the distributions they were drawn from."""


Delta = Annotated[
    PrefillDelta | ThinkingDelta | TextDelta | ToolCallDelta | Usage, Field(discriminator="kind")
]


class Alternative(Wire):
    token_id: int
    text: str
    logprob: float


class ScoredToken(Wire):
    index: int
    """Position of the token in the tokens of `text` (the prefix not counted)."""
    token_id: int
    start: int
    """Offset of its first character in `text`."""
    end: int
    logprob: float
    alternatives: tuple[Alternative, ...]
    """The likeliest tokens at this place other than the one that stands there, best first."""


class ScoreRequest(Wire):
    prefix: str
    """Raw text before `text`, not scored; no chat template is applied."""
    text: str
    top: int = Field(default=4, ge=1, le=32)


class BranchStart(Wire):
    index: int
    """Keep the tokens of `text` before this index (a `ScoredToken.index`) ..."""
    token_id: int
    """... then take this token instead of the one that stands there."""


class BranchRequest(Wire):
    """Continue `prefix + text` greedily from several of its places, as one batch."""

    prefix: str
    text: str
    starts: tuple[BranchStart, ...]
    stop: tuple[str, ...] = ("\n",)
    max_tokens: int = Field(default=48, ge=1)


class Continuation(Wire):
    text: str
    """From the forced token on, without the stop string."""
    logprob: float
    """Sum over its tokens (nats), the forced one included."""
    tokens: int
    stopped: bool
    """A stop string ended it, rather than the token budget."""


class Cost(Wire):
    prefill: int
    cached: int
    seconds: float
    """Estimate for the prefill, from this engine's own measured speed."""


class Capabilities(Wire):
    model: str
    family: str
    context: int
    """Tokens, prompt and answer together."""
    effort: Literal["native", "prompted", "unsupported"]
    tools: bool = True
    images: bool = False
    score: bool = True
    branch: bool = True
