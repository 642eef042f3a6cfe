"""A file of the workspace as text, and back to bytes with its encoding, BOM and line ends kept."""

from __future__ import annotations

import codecs
import io
import tokenize
from dataclasses import dataclass

_PYTHON = (".py", ".pyi", ".pyw")
_BOMS = ((codecs.BOM_UTF8, "utf-8"), (codecs.BOM_UTF16_LE, "utf-16-le"), (codecs.BOM_UTF16_BE, "utf-16-be"))
# Codecs that a coding line may name and that do not keep text as text.
_ODD_CODECS = {"idna", "punycode", "unicode-escape", "raw-unicode-escape", "utf-7", "undefined"}

MOSTLY_UTF8 = "mostly UTF-8"
"""A file of which some bytes are something else. Each of these stands in the text as a private character,
which can be shown, copied and stored, and is the same byte again on the way back."""
_ESCAPED = range(0xDC80, 0xDD00)
_TO_PRIVATE = {escaped: escaped - 0xDC80 + 0xEF80 for escaped in _ESCAPED}
_FROM_PRIVATE = {private: escaped for escaped, private in _TO_PRIVATE.items()}

_MAGIC = (
    (b"\x89PNG", "a PNG image"),
    (b"\xff\xd8\xff", "a JPEG image"),
    (b"GIF8", "a GIF image"),
    (b"%PDF", "a PDF document"),
    (b"PK\x03\x04", "a ZIP archive"),
    (b"\x1f\x8b", "gzip data"),
    (b"\x7fELF", "an ELF program"),
    (b"SQLite format 3", "an SQLite database"),
)


class NotText(Exception):
    """The bytes are not text; `str(error)` says what they are, as in "a PNG image"."""


class Unencodable(Exception):
    """The text holds a character that the file's encoding lacks; `str(error)` is a sentence."""


@dataclass(frozen=True)
class SourceText:
    raw: str
    """The text with its own line ends, without BOM."""
    encoding: str
    bom: bytes

    @property
    def text(self) -> str:
        """The same with line feeds alone."""
        return self.raw.replace("\r\n", "\n")

    @property
    def newline(self) -> str:
        """The line end that most of its lines have; a line feed where it has none."""
        crlf = self.raw.count("\r\n")
        return "\r\n" if crlf > self.raw.count("\n") - crlf else "\n"

    def encode(self, raw: str) -> bytes:
        """`raw` in this file's encoding; raises Unencodable."""
        try:
            if self.encoding == MOSTLY_UTF8:
                return self.bom + raw.translate(_FROM_PRIVATE).encode("utf-8", "surrogateescape")
            return self.bom + raw.encode(self.encoding)
        except UnicodeEncodeError as error:
            character = raw[error.start]
            raise Unencodable(
                f"The file is {self.encoding} and cannot hold {character!r} (U+{ord(character):04X}): "
                "write it as an escape or use another character."
            ) from None


NEW_FILE = SourceText(raw="", encoding="utf-8", bom=b"")


def decode(data: bytes, path: str) -> SourceText:
    """The text in `data`; raises NotText. What it answers encodes back to `data`, byte for byte.

    A BOM decides, then a Python file's coding line (PEP 263), then UTF-8. Else it is UTF-8 with some bytes
    that are not, where most of what is not ASCII is valid, or Windows' Latin alphabet, or Latin-1.
    """
    for magic, kind in _MAGIC:
        if data.startswith(magic):
            raise NotText(kind)
    if data[:4] == b"RIFF" and data[8:12] == b"WEBP":
        raise NotText("a WebP image")
    bom, marked = next(((bom, name) for bom, name in _BOMS if data.startswith(bom)), (b"", ""))
    if b"\0" in data[:8192] and not marked.startswith("utf-16"):
        raise NotText("binary data")
    body = data[len(bom) :]
    for encoding in (marked, _declared(data, path), "utf-8", MOSTLY_UTF8, "cp1252", "latin-1"):
        if not encoding:
            continue
        try:
            source = SourceText(_decoded(body, encoding), encoding, bom)
            if source.encode(source.raw) == data:
                return source
        except (UnicodeError, Unencodable, LookupError):
            continue
    raise NotText("binary data")


def _decoded(body: bytes, encoding: str) -> str:
    if encoding != MOSTLY_UTF8:
        return body.decode(encoding)
    text = body.decode("utf-8", "surrogateescape")
    stray = sum(text.count(escaped) for escaped in map(chr, _ESCAPED))
    if sum(not c.isascii() for c in text) < 2 * stray:
        raise UnicodeError
    return text.translate(_TO_PRIVATE)


def _declared(data: bytes, path: str) -> str:
    if not path.endswith(_PYTHON):
        return ""
    try:
        name = tokenize.detect_encoding(io.BytesIO(data).readline)[0]
    except SyntaxError:
        return ""
    name = codecs.lookup(name).name
    return "" if name in _ODD_CODECS or name == "utf-8-sig" else name
