"""Questions about text that is already there: how likely each token is, and how else it might go on."""

from __future__ import annotations

from engine.errors import EngineError
from engine.model import Cancelled, Model, Tokenizer
from engine.request import Alternative, BranchRequest, Continuation, ScoredToken, ScoreRequest


def score(model: Model, request: ScoreRequest, cancelled: Cancelled) -> list[ScoredToken]:
    """Each token of `text` with its log-probability after all before it. Raises ContextOverflow."""
    tokenizer = model.tokenizer
    ids, spans = tokenizer.encode_with_ends(request.text)
    if not ids:
        return []
    scores = model.score(tokenizer.encode(request.prefix), ids, request.top, cancelled)
    return [
        ScoredToken(
            index=index,
            token_id=token_id,
            start=start,
            end=end,
            logprob=logprob,
            alternatives=tuple(
                Alternative(token_id=other, text=_text(tokenizer, [other]), logprob=others_logprob)
                for other, others_logprob in others
            ),
        )
        for index, (token_id, (start, end), (logprob, others)) in enumerate(
            zip(ids, spans, scores, strict=True)
        )
    ]


def branch(model: Model, request: BranchRequest, cancelled: Cancelled) -> list[Continuation]:
    """One continuation for each start, in order. Raises EngineError on a start outside of the text."""
    tokenizer = model.tokenizer
    ids = tokenizer.encode(request.text)
    for start in request.starts:
        if not 0 <= start.index <= len(ids):
            raise EngineError(
                f"A branch cannot start at token {start.index}: the text has {len(ids)} tokens."
            )
    if not request.starts:
        return []
    branches = model.branch(
        tokenizer.encode(request.prefix),
        ids,
        [(start.index, start.token_id) for start in request.starts],
        stop=lambda taken: _cut(_text(tokenizer, taken), request.stop)[1],
        max_tokens=request.max_tokens,
        cancelled=cancelled,
    )
    special = frozenset(tokenizer.special.values())
    continuations = []
    for taken, logprob, ended in branches:
        spoken = [token_id for token_id in taken if token_id not in special]
        text, _ = _cut(_text(tokenizer, spoken), request.stop)
        continuations.append(Continuation(text=text, logprob=logprob, tokens=len(taken), stopped=ended))
    return continuations


def _text(tokenizer: Tokenizer, ids: list[int]) -> str:
    return b"".join(tokenizer.token_bytes(token_id) for token_id in ids).decode("utf-8", "replace")


def _cut(text: str, stops: tuple[str, ...]) -> tuple[str, bool]:
    """The text up to the first stop string, and whether there is one."""
    found = [at for stop in stops if stop and (at := text.find(stop)) >= 0]
    return (text[: min(found)], True) if found else (text, False)
