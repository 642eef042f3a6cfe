"""An engine for tests of the search: it knows how one file should read, and chats from a script."""

from __future__ import annotations

import re
from collections.abc import AsyncGenerator, Sequence

from engine.request import (
    Alternative,
    BranchRequest,
    Capabilities,
    ChatRequest,
    Continuation,
    Cost,
    Delta,
    ScoredToken,
    ScoreRequest,
    ShownImage,
    TextDelta,
    Usage,
)

_TOKEN = re.compile(r"\n+|[ \t]+|\w+|[^\w\s]")
LIKELY, UNLIKELY, SURPRISED = -0.1, -3.0, -6.0


class KnowingEngine:
    """Surprised where a scored text leaves `right`; everywhere else it likes what stands there."""

    def __init__(self, right: str, answers: Sequence[str] = ()) -> None:
        self.capabilities = Capabilities(model="knowing", family="test", context=20000, effort="prompted")
        self.scored: list[ScoreRequest] = []
        self.branched: list[BranchRequest] = []
        self.asked: list[ChatRequest] = []
        self._right = right
        self._answers = list(answers)
        self._ids: dict[str, int] = {}
        self._texts: list[str] = []

    async def show(self, data: bytes) -> ShownImage:
        raise AssertionError("the search shows no images")

    async def score(self, request: ScoreRequest) -> list[ScoredToken]:
        self.scored.append(request)
        text, right = request.text, self._aligned(request.text)
        leaves = next((n for n, (a, b) in enumerate(zip(text, right, strict=False)) if a != b), None)
        scored = []
        for index, match in enumerate(_TOKEN.finditer(text)):
            start, end = match.span()
            here = leaves is not None and start <= leaves < end
            known = _TOKEN.match(right, start) if here else None
            other = known[0] if known and known[0] != match[0] else "zzz"
            logprob = (SURPRISED, LIKELY) if here and other != "zzz" else (LIKELY, UNLIKELY)
            alternative = Alternative(token_id=self._id(other), text=other, logprob=logprob[1])
            scored.append(
                ScoredToken(
                    index=index,
                    token_id=self._id(match[0]),
                    start=start,
                    end=end,
                    logprob=logprob[0],
                    alternatives=(alternative,),
                )
            )
        return scored

    async def branch(self, request: BranchRequest) -> list[Continuation]:
        self.branched.append(request)
        right = self._aligned(request.text)
        tokens = list(_TOKEN.finditer(request.text))
        answers = []
        for start in request.starts:
            at = tokens[start.index].start() if start.index < len(tokens) else len(request.text)
            forced = self._texts[start.token_id]
            text = request.text[:at]
            rest = right[at:] if right.startswith(text + forced) else f"{forced} zzz\n"
            cuts = [rest.find(stop) for stop in request.stop if stop in rest]
            answers.append(
                Continuation(text=rest[: min(cuts, default=None)], logprob=-1.0, tokens=4, stopped=bool(cuts))
            )
        return answers

    async def chat(self, request: ChatRequest) -> AsyncGenerator[Delta, None]:
        self.asked.append(request)
        yield TextDelta(text=self._answers.pop(0) if self._answers else "I do not know.")
        yield Usage(
            prompt=10,
            cached=0,
            generated=5,
            token_ids=(),
            finish="stop",
            prefill_seconds=0.0,
            decode_seconds=0.0,
        )

    async def cost(self, request: ChatRequest) -> Cost:
        return Cost(prefill=10, cached=0, seconds=0.0)

    async def close(self) -> None:
        pass

    def _aligned(self, text: str) -> str:
        """The right source from the line on that goes along with the text for longest."""
        starts = [0, *(match.end() for match in re.finditer(r"\n", self._right))]
        shared = {at: _shared(self._right[at:], text) for at in starts}
        at = max(starts, key=lambda start: shared[start])
        return self._right[at:] if shared[at] > 3 else text

    def _id(self, text: str) -> int:
        if text not in self._ids:
            self._ids[text] = len(self._texts)
            self._texts.append(text)
        return self._ids[text]


def _shared(a: str, b: str) -> int:
    """Length of the common beginning."""
    return next((n for n, (x, y) in enumerate(zip(a, b, strict=False)) if x != y), min(len(a), len(b)))
