"""Whatever comes out of a workspace is data: text without terminal escapes, in one go or streamed."""

from __future__ import annotations

import re

# A string sequence (OSC, SOS, PM, APC) ends with BEL or ST and never holds a line feed; without its end
# on the line only its introducer goes, so that an open escape cannot hide what follows. DCS (sixel
# images) does hold line feeds. No payload runs over another introducer: the scan stays linear.
_ESCAPE = re.compile(
    r"(?:\x1b\[|\x9b)[0-?]*[ -/]*[@-~]"
    r"|(?:\x1b[\]X^_]|[\x9d\x98\x9e\x9f])[^\x07\x1b\x80-\x9f\n]*(?:\x07|\x1b\\|\x9c)"
    r"|(?:\x1bP|\x90)[^\x07\x1b\x80-\x9f]*(?:\x07|\x1b\\|\x9c)"
    r"|\x1b[ -/]+[0-~]"
    r"|\x1b[0-~]"
)
# The end of a chunk that may still become one of the above (or the first half of CR LF).
_UNFINISHED = re.compile(
    r"(?:(?:\x1b\[|\x9b)[0-?]*[ -/]*"
    r"|(?:\x1b[\]X^_]|[\x9d\x98\x9e\x9f])[^\x07\x1b\x80-\x9f\n]*\x1b?"
    r"|(?:\x1bP|\x90)[^\x07\x1b\x80-\x9f]*\x1b?"
    r"|\x1b[ -/]*"
    r"|\r)\Z"
)
_HELD_AT_MOST = 8_192

# C0 (but tab and line feed), DEL, C1, and the bidirectional controls that make text read as another.
_CONTROLS = {
    code: None
    for code in (*range(0x20), *range(0x7F, 0xA0), *range(0x202A, 0x202F), *range(0x2066, 0x206A))
    if code not in (0x09, 0x0A)
}


def plain(text: str) -> str:
    """`text` without terminal escapes and control characters; tabs and line feeds stay.

    CR LF and a lone CR become a line feed, so that overwritten text stays visible. Idempotent.
    """
    if text.isprintable():
        return text
    text = _ESCAPE.sub("", text)
    return text.replace("\r\n", "\n").replace("\r", "\n").translate(_CONTROLS)


def printable(name: str) -> str:
    """A file's name on one line, what cannot be shown as an escape: `a\\nb`.

    Line feeds, zero-width signs and bytes that are no UTF-8 (lone surrogates, in Python) among it.
    """
    if name.isprintable():
        return name
    shown = (c if c.isprintable() else c.encode("unicode_escape").decode("ascii") for c in name)
    return "".join(shown)


class PlainStream:
    """`plain` for text that arrives in chunks, whose edges may fall inside an escape."""

    def __init__(self) -> None:
        self._held = ""

    def push(self, chunk: str) -> str:
        """What of the text so far is certain; the rest waits for the next chunk."""
        text = self._held + chunk
        unfinished = _UNFINISHED.search(text)
        if unfinished is None or len(text) - unfinished.start() > _HELD_AT_MOST:
            self._held = ""
            return plain(text)
        self._held = text[unfinished.start() :]
        return plain(text[: unfinished.start()])

    def close(self) -> str:
        """The rest, once no more comes."""
        text, self._held = self._held, ""
        return plain(text)
