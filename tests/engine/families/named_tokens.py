"""A tokenizer whose tokens are bytes, and special tokens of any names."""

from __future__ import annotations

from engine.byte_level import TokenStream


class NamedTokens:
    def __init__(self, *names: str, chat_template: str = ""):
        self._names = names
        self.special = {name: 256 + n for n, name in enumerate(names)}
        self.chat_template = chat_template

    def encode(self, text: str) -> list[int]:
        return list(text.encode())

    def token_bytes(self, token_id: int) -> bytes:
        return self._names[token_id - 256].encode() if token_id > 255 else bytes([token_id])

    def decode(self, ids: list[int] | tuple[int, ...]) -> str:
        return b"".join(self.token_bytes(token_id) for token_id in ids).decode("utf-8", "replace")

    def stream(self) -> TokenStream:
        return TokenStream(self)

    def marked(self, text: str) -> list[int]:
        """Ids of text in which every spelling of a special token is the token."""
        ids: list[int] = []
        while text:
            found = [name for name in self._names if text.startswith(name)]
            mark = max(found, key=len, default=None)
            ids += [self.special[mark]] if mark else text[0].encode()
            text = text[len(mark) if mark else 1 :]
        return ids
