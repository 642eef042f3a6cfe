"""Proposes edits in batches: scores suspects, ranks the surprises, lets the model go on from the best."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Callable, Mapping, Sequence
from dataclasses import dataclass, replace

from agent.search.batch import Batch, SearchEngine
from agent.search.candidates import Edit, Sieve, edits
from agent.search.localise import Suspect
from agent.search.prefix import prefix
from agent.search.splice import block_splices, splices
from agent.search.surprise import Point, Region, points, region
from engine.errors import ContextOverflow
from engine.request import BranchRequest, Continuation, ScoreRequest

TOP = 4
BATCH = 8
GROUP = 3
"""Suspects scored before the first branch is tried, and each time the surprises run dry."""
DRY = -2.5
"""Score below which further suspects are read before further points of these are tried."""
GROUP_BATCHES = 5
"""Batches after which further suspects are read at the latest."""
LINE_TOKENS = 40
BLOCK_TOKENS = 48
LONGEST_TEXT = 8000
"""Characters; a longer unit would cost more to read than a search for it is worth."""


@dataclass(frozen=True)
class Reading:
    """One suspect as the model read it."""

    where: Region
    prefix: str


async def propose(
    engine: SearchEngine,
    suspects: Sequence[Suspect],
    sources: Mapping[str, str],
    tests: Sequence[str],
    *,
    sieves: dict[str, Sieve],
    on_score: Callable[[Suspect, int], None] = lambda suspect, tokens: None,
) -> AsyncGenerator[Batch, None]:
    """Batches of edits, until every surprise of every suspect has been followed.

    `on_score` hears of each suspect read, with the number of its tokens.
    """
    waiting = [suspect for suspect in suspects if _length(sources[suspect.file], suspect) <= LONGEST_TEXT]
    pool: list[tuple[Point, Reading]] = []
    since_read = 0
    best_score = max((suspect.score for suspect in waiting), default=1.0)
    while waiting or pool:
        dry = not pool or pool[0][0].score < DRY or since_read >= GROUP_BATCHES
        if waiting and dry:
            group, waiting = waiting[:GROUP], waiting[GROUP:]
            for suspect in group:
                behind = suspect.score - best_score
                pool += [
                    (replace(point, score=point.score + behind), reading)
                    for point, reading in await _read(engine, suspect, sources, tests, on_score)
                ]
            pool.sort(key=lambda item: -item[0].score)
            since_read = 0
            continue
        reading = pool[0][1]
        chosen = [item for item in pool if item[1] is reading][:BATCH]
        pool = [item for item in pool if item not in chosen]
        since_read += 1
        file = reading.where.suspect.file
        sieve = sieves.setdefault(file, Sieve(file, sources[file]))
        yield await _follow(engine, reading, [point for point, _ in chosen], sieve)


async def _read(
    engine: SearchEngine,
    suspect: Suspect,
    sources: Mapping[str, str],
    tests: Sequence[str],
    on_score: Callable[[Suspect, int], None],
) -> list[tuple[Point, Reading]]:
    source = sources[suspect.file]
    where = region(source, suspect)
    for shown in (tests, ()):
        before = prefix(suspect.file, source, suspect, shown)
        try:
            scored = await engine.score(ScoreRequest(prefix=before, text=where.sent, top=TOP))
        except ContextOverflow:
            continue
        on_score(suspect, len(scored))
        reading = Reading(where, before)
        return [(point, reading) for point in points(scored, where)]
    return []


async def _follow(engine: SearchEngine, reading: Reading, chosen: Sequence[Point], sieve: Sieve) -> Batch:
    where = reading.where
    found: list[Edit] = []
    told = [point for point in chosen if "\n" in point.text]
    for point in told:
        ending = point.text.split("\n")[0]
        found += edits(sieve, where, point, splices(where.text, point.offset, ending), 0.0)
    asked = [point for point in chosen if "\n" not in point.text]
    lines = await _branch(engine, reading, asked, ("\n",), LINE_TOKENS)
    opening: list[Point] = [point for point in told if _goes_on(point, where)]
    for point, line in zip(asked, lines, strict=True):
        found += edits(sieve, where, point, splices(where.text, point.offset, line.text), line.logprob)
        if line.text.rstrip().endswith(":") and _at_line_start(where.text, point.offset):
            opening.append(point)
    blocks = await _branch(engine, reading, opening, ("\n\n",), BLOCK_TOKENS)
    for point, block in zip(opening, blocks, strict=True):
        found += edits(
            sieve, where, point, block_splices(where.text, point.offset, block.text), block.logprob
        )
    found.sort(key=lambda edit: -edit.score)
    return Batch(found, len(lines) + len(blocks), sum(answer.tokens for answer in (*lines, *blocks)))


async def _branch(
    engine: SearchEngine, reading: Reading, chosen: Sequence[Point], stop: tuple[str, ...], tokens: int
) -> list[Continuation]:
    if not chosen:
        return []
    request = BranchRequest(
        prefix=reading.prefix,
        text=reading.where.sent,
        starts=tuple(point.start for point in chosen),
        stop=stop,
        max_tokens=tokens,
    )
    return await engine.branch(request)


def _goes_on(point: Point, where: Region) -> bool:
    """The model would write a further line where the code has empty ones or ends."""
    return not point.text.strip() and point.offset < len(where.text)


def _at_line_start(text: str, offset: int) -> bool:
    return not text[text.rfind("\n", 0, offset) + 1 : offset].strip()


def _length(source: str, suspect: Suspect) -> int:
    lines = source.split("\n")[suspect.start_line - 1 : suspect.end_line]
    return sum(len(line) + 1 for line in lines)
