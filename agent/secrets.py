"""Secrets that must not stay on the disk: known patterns, and what the caller's environment calls a secret.

Every pattern is linear: no repeat in a repeat, and an unbounded one only at a pattern's end.
"""

from __future__ import annotations

import json
import os
import re
from collections.abc import Iterable, Mapping, Sequence
from functools import lru_cache
from itertools import accumulate

MASK = "[secret masked]"
LEAST = 8
"""Characters of a variable's value; a shorter one would be found in every second word."""
_NAMES = re.compile(r"KEY|SECRET|TOKEN|PASSWORD|PASSWD|PASSPHRASE|CREDENTIAL", re.IGNORECASE)

_PRIVATE = "[A-Z0-9 ]{0,40}PRIVATE KEY(?: BLOCK)?-----"
_PATTERNS = (
    # What stays, and the secret after it.
    ("", rf'-----BEGIN {_PRIVATE}(?:[^-"]|-(?!----)){{0,20000}}(?:-----END {_PRIVATE})?'),
    ("", r"\b(?:AKIA|ASIA|ABIA|ACCA|AGPA|AIDA|AROA|ANPA|ANVA)[A-Z0-9]{16}"),
    (r"(?i:aws_?secret_?(?:access_?)?key)[\"']?\s{0,3}[=:]\s{0,3}[\"']?", r"[A-Za-z0-9/+]{40}=?"),
    ("", r"\bgh[pousr]_[A-Za-z0-9]{30,}"),
    ("", r"\bgithub_pat_\w{22,}"),
    ("", r"\bgl(?:pat|ptt|rt|dt|ft|soat|cbt|agent|oas|ffct|imt)-[\w.-]{20,}"),
    ("", r"\bxox[abceoprs]-[A-Za-z0-9-]{10,}"),
    ("", r"\bxapp-[A-Za-z0-9-]{10,}"),
    (r"hooks\.slack\.com/(?:services|workflows)/", r"[\w/]{20,}"),
    ("", r"\bsk-[\w-]{20,}"),  # OpenAI, Anthropic, OpenRouter
    ("", r"\b[sr]k_(?:live|test)_[A-Za-z0-9]{16,}"),
    ("", r"\bhf_[A-Za-z0-9]{30,}"),
    ("", r"\bAIza[\w-]{35}"),
    ("", r"\bya29\.[\w-]{20,}"),
    ("", r"\bGOCSPX-[\w-]{20,}"),
    ("", r"\bnpm_[A-Za-z0-9]{36}"),
    ("", r"\bpypi-[\w-]{50,}"),
    ("", r"\beyJ[\w-]{8,2000}\.eyJ[\w-]{8,8000}\.[\w-]*"),  # JSON web tokens
    (
        r"(?i:authorization)[\"']?\s{0,5}[:=]\s{0,5}[\"']?(?i:bearer|basic|token|digest)\s{1,5}",
        r"[\w.~+/=-]{6,}",
    ),
    (r"\b[Bb]earer\s{1,5}", r"[\w.~+/=-]{20,}"),
    (r"\b[A-Za-z][A-Za-z0-9+.-]{0,20}://[^\s:/@\"'\\\[]{0,100}:", r"[^\s@/\"'\\\[]{1,300}(?=@)"),
)  # fmt: skip


def masked(text: str) -> str:
    """`text` with MASK in the place of each secret that it holds. Idempotent."""
    return _pattern(_values(os.environ)).sub(_without, text)


def masked_pieces(pieces: Sequence[str]) -> list[str]:
    """The pieces of one text, in as many pieces: a secret may lie across their edges."""
    text = "".join(pieces)
    found = list(_pattern(_values(os.environ)).finditer(text))
    if not found:
        return list(pieces)
    shown: list[str] = []
    ends = list(accumulate(map(len, pieces)))
    for start, end in zip([0, *ends], ends, strict=False):
        piece, at = "", start
        for match in found:
            first, last = match.end(match.lastgroup or 0) if match.lastgroup else match.start(), match.end()
            if last <= at or first >= end:
                continue
            piece += text[at : max(at, first)] + (MASK if start <= first else "")
            at = min(last, end)
        shown.append(piece + text[at:end])
    return shown


def _without(found: re.Match[str]) -> str:
    return (found[found.lastgroup] if found.lastgroup else "") + MASK


def _values(environ: Mapping[str, str]) -> tuple[str, ...]:
    """What variables hold whose names speak of secrets; a path that exists is where one lies, not one."""
    named = {value.strip() for name, value in environ.items() if _NAMES.search(name)}
    return tuple(sorted(v for v in named if len(v) >= LEAST and v not in MASK and not os.path.exists(v)))


@lru_cache(maxsize=4)
def _pattern(values: tuple[str, ...]) -> re.Pattern[str]:
    """One pattern for all: one pass finds the leftmost. Word characters that follow a secret go with it."""
    literal = sorted({form for value in values for form in _written(value)}, key=len, reverse=True)
    parts = [re.escape(form) for form in literal]
    parts += [
        f"(?P<k{n}>{stays}){secret}" if stays else secret for n, (stays, secret) in enumerate(_PATTERNS)
    ]
    return re.compile("|".join(rf"(?:{part})\w*" for part in parts))


def _written(value: str) -> Iterable[str]:
    """A value as it is, and as it stands inside JSON."""
    return {value, json.dumps(value)[1:-1], json.dumps(value, ensure_ascii=False)[1:-1]}
