"""A source file addressed two ways: by AST nodes and by tokens, both as character offsets."""

from __future__ import annotations

import ast
import io
import re
import tokenize
from bisect import bisect_left


class SourceText:
    """Offsets count characters; the AST itself counts UTF-8 bytes."""

    def __init__(self, source: str) -> None:
        self.source = source
        self._lines = re.findall(r"[^\n]*\n|[^\n]+", source)
        self._starts = [0]
        for line in self._lines:
            self._starts.append(self._starts[-1] + len(line))
        self._tokens = [
            (self._starts[token.start[0] - 1] + token.start[1], token.string)
            for token in tokenize.generate_tokens(io.StringIO(source, newline="").readline)
            if token.type in (tokenize.OP, tokenize.NAME)
        ]
        self._token_starts = [start for start, _ in self._tokens]

    def span(self, node: ast.expr | ast.stmt) -> tuple[int, int]:
        """Start and end of a node."""
        assert node.end_lineno is not None and node.end_col_offset is not None
        return self._at(node.lineno, node.col_offset), self._at(node.end_lineno, node.end_col_offset)

    def of(self, node: ast.expr | ast.stmt) -> str:
        start, end = self.span(node)
        return self.source[start:end]

    def between(self, left: int, right: int, symbol: str) -> tuple[int, int] | None:
        """Where the operator `symbol` (one token, or two such as "not in") stands in `[left, right)`."""
        words = symbol.split()
        first = bisect_left(self._token_starts, left)
        last = bisect_left(self._token_starts, right)
        for i in range(first, last - len(words) + 1):
            run = self._tokens[i : i + len(words)]
            if [text for _, text in run] == words:
                return run[0][0], run[-1][0] + len(run[-1][1])
        return None

    def whole_lines(self, node: ast.stmt) -> tuple[int, int] | None:
        """The lines a statement fills, final newline included; None where it shares one with other code."""
        start, end = self.span(node)
        first = self.source.rfind("\n", 0, start) + 1
        newline = self.source.find("\n", end)
        last = len(self.source) if newline < 0 else newline + 1
        rest = self.source[end:last].strip()
        if self.source[first:start].strip() or (rest and not rest.startswith("#")):
            return None
        return first, last

    def _at(self, line: int, byte_column: int) -> int:
        text = self._lines[line - 1]
        if text.isascii():
            return self._starts[line - 1] + byte_column
        return self._starts[line - 1] + len(text.encode()[:byte_column].decode())
