"""An engine that answers from a list: the same interface as `engine.Engine`, no process, no model.

    engine = ScriptedEngine([say("Looking."), call("read", path="a.py"), say("Done.", thinking="easy")])

Each `chat` takes the next answer and keeps its request in `requests`; an exception in the list is raised in
the middle of that answer. `scores` and `branches` work the same way for `score` and `branch`.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import AsyncGenerator, Iterable
from types import TracebackType

from pydantic import BaseModel, ConfigDict

from engine import (
    BranchRequest,
    Capabilities,
    ChatRequest,
    Continuation,
    Cost,
    Delta,
    PrefillDelta,
    ScoredToken,
    ScoreRequest,
    ShownImage,
    TextDelta,
    ThinkingDelta,
    ToolCall,
    ToolCallDelta,
    Usage,
)


class Answer(BaseModel):
    """What the model says in one turn, told in the order thinking, text, calls."""

    model_config = ConfigDict(frozen=True)

    text: str = ""
    thinking: str = ""
    calls: tuple[ToolCall, ...] = ()
    finish: str | None = None
    """`stop` or `tool_call` by the calls where None."""


def say(text: str, *, thinking: str = "") -> Answer:
    return Answer(text=text, thinking=thinking)


def call(name: str, *, text: str = "", thinking: str = "", **arguments: object) -> Answer:
    """One well-formed tool call. Its id is filled in by the engine."""
    return calls((name, dict(arguments)), text=text, thinking=thinking)


def calls(*made: tuple[str, dict[str, object]], text: str = "", thinking: str = "") -> Answer:
    return Answer(
        text=text,
        thinking=thinking,
        calls=tuple(ToolCall(id="", name=name, arguments=json.dumps(arguments)) for name, arguments in made),
    )


def malformed(name: str, arguments: str, problem: str) -> Answer:
    """A call that cannot be executed, with what was wrong and where."""
    return Answer(calls=(ToolCall(id="", name=name, arguments=arguments, problem=problem),))


class ScriptedEngine:
    """Deterministic: token ids are the characters' code points, every log-probability is -0.1."""

    def __init__(
        self,
        answers: Iterable[Answer | Exception] = (),
        *,
        scores: Iterable[list[ScoredToken] | Exception] = (),
        branches: Iterable[list[Continuation] | Exception] = (),
        capabilities: Capabilities | None = None,
    ):
        self.capabilities = capabilities or Capabilities(
            model="scripted", family="qwen2", context=32768, effort="prompted"
        )
        self.requests: list[ChatRequest] = []
        self.score_requests: list[ScoreRequest] = []
        self.branch_requests: list[BranchRequest] = []
        self.shown: list[bytes] = []
        self.cancelled = 0
        """Answers that were closed before their end."""
        self.closed = False
        self._answers, self._scores, self._branches = iter(answers), iter(scores), iter(branches)

    async def chat(self, request: ChatRequest) -> AsyncGenerator[Delta, None]:
        self.requests.append(request)
        answer = _next(self._answers, "chat", len(self.requests))
        yield PrefillDelta(done=1, total=1)
        if isinstance(answer, Exception):
            raise answer
        finished = False
        try:
            for delta in self._deltas(request, answer):
                finished = isinstance(delta, Usage)
                yield delta
        finally:
            self.cancelled += not finished

    async def score(self, request: ScoreRequest) -> list[ScoredToken]:
        self.score_requests.append(request)
        return _told(_next(self._scores, "score", len(self.score_requests)))

    async def branch(self, request: BranchRequest) -> list[Continuation]:
        self.branch_requests.append(request)
        return _told(_next(self._branches, "branch", len(self.branch_requests)))

    async def show(self, data: bytes) -> ShownImage:
        self.shown.append(data)
        return ShownImage(sha256=hashlib.sha256(data).hexdigest(), width=28, height=28, tokens=2)

    async def cost(self, request: ChatRequest) -> Cost:
        return Cost(prefill=_prompt_tokens(request), cached=0, seconds=0.0)

    async def close(self, *, shutdown: bool = False) -> None:
        self.closed = True

    async def __aenter__(self) -> ScriptedEngine:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.close()

    def _deltas(self, request: ChatRequest, answer: Answer) -> list[Delta]:
        deltas: list[Delta] = []
        if answer.thinking:
            deltas.append(ThinkingDelta(text=answer.thinking))
        # in two pieces, as a reader must not rely on getting a text whole
        half = len(answer.text) // 2
        deltas.extend(TextDelta(text=piece) for piece in (answer.text[:half], answer.text[half:]) if piece)
        for n, made in enumerate(answer.calls):
            told = made.model_copy(update={"id": made.id or f"call_{len(request.messages)}_{n}"})
            deltas.append(ToolCallDelta(call=told))
        written = answer.thinking + answer.text + "".join(made.name + made.arguments for made in answer.calls)
        return [*deltas, _usage(request, answer, written)]


def _usage(request: ChatRequest, answer: Answer, written: str) -> Usage:
    finish = answer.finish or ("tool_call" if answer.calls else "stop")
    return Usage.model_validate(
        {
            "prompt": _prompt_tokens(request),
            "cached": 0,
            "generated": len(written),
            "token_ids": tuple(map(ord, written)),
            "finish": finish,
            "prefill_seconds": 0.0,
            "decode_seconds": 0.0,
            "mean_logprob": -0.1,
            "mean_entropy": 0.2,
        }
    )


def _prompt_tokens(request: ChatRequest) -> int:
    return sum(len(message.content) for message in request.messages)


def _next(answers, kind: str, n: int):
    """The next thing of a script; asking for more than it holds is a mistake of the test."""
    for answer in answers:
        return answer
    raise AssertionError(f"the script has no answer to {kind} number {n}")


def _told(answer):
    if isinstance(answer, Exception):
        raise answer
    return answer
