"""Whatever comes out of a workspace is data: text without terminal escapes, in one go or streamed."""

from __future__ import annotations

import json
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

# Takes no place on a screen, yet turns text around, joins or hides it: bidirectional marks, zero-width
# characters, fillers, tags. Variation selectors of emoji stay.
_INVISIBLE = (
    "\u00ad\u034f\u061c\u115f\u1160\u17b4\u17b5\u180b-\u180f\u200b-\u200f\u202a-\u202e\u2060-\u206f\u3164\ufeff"
    "\uffa0\ufff9-\ufffb\U0001bca0-\U0001bca3\U0001d173-\U0001d17a\U000e0000-\U000e0fff"
)
_CONTROL = "\x00-\x08\x0b-\x1f\x7f-\x9f"  # C0 but tab and line feed, DEL, C1
_UNSEEN = re.compile(f"[{_CONTROL}{_INVISIBLE}]")
_NO_TEXT = re.compile("[\ud800-\udfff]")
"""Bytes that are no UTF-8, in Python: a stream that lets them through writes them as they were."""
# Looks like a space, or like the end of a line, and is neither to a shell: text may have it.
_LIKE_SPACE = "\u00a0\u1680\u2000-\u200a\u2028\u2029\u202f\u205f\u2800\u3000"
_MADE_VISIBLE = re.compile(
    rf"\\+(?=[uU{_CONTROL}{_INVISIBLE}{_LIKE_SPACE}])|[{_CONTROL}{_INVISIBLE}{_LIKE_SPACE}]"
)


def plain(text: str) -> str:
    """`text` without terminal escapes, control and invisible characters; tabs and line feeds stay.

    What is no text becomes U+FFFD; CR LF and a lone CR become a line feed, so that overwritten text stays
    visible. Idempotent.
    """
    if text.isascii() and text.isprintable():
        return text
    text = _ESCAPE.sub("", text)
    text = _UNSEEN.sub("", text.replace("\r\n", "\n").replace("\r", "\n"))
    return _NO_TEXT.sub("\ufffd", text)


def visible(text: str) -> str:
    """`text` with what `plain` would take out written as `\\u202e`, and with it what only looks like a space;
    tabs and line feeds stay.

    No two texts look the same: a backslash that stands before such a character or a `u` is doubled.
    """
    return _MADE_VISIBLE.sub(lambda found: _shown(found[0]), text)


def json_escaped(text: str) -> str:
    """JSON text that means the same and drives no terminal: what is not seen is a JSON escape in it."""
    return _UNSEEN.sub(lambda found: json.dumps(found[0])[1:-1] if found[0] != "\x7f" else "\\u007f", text)


def _shown(found: str) -> str:
    if found[0] == "\\":
        return found * 2
    return f"\\u{ord(found):04x}" if ord(found) <= 0xFFFF else f"\\U{ord(found):08x}"


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
