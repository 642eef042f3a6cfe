"""Where a function can go wrong in one place, and how: textual edits found in its AST."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from itertools import pairwise

from bench.source_text import SourceText

FUNCTIONS = (ast.FunctionDef, ast.AsyncFunctionDef)
SIMPLE_STATEMENTS = (ast.Expr, ast.Assign, ast.AugAssign, ast.Delete, ast.Raise, ast.Continue, ast.Break)
COMPARISONS: dict[type[ast.cmpop], tuple[str, tuple[str, ...]]] = {
    ast.Lt: ("<", ("<=", ">")),
    ast.LtE: ("<=", ("<", ">=")),
    ast.Gt: (">", (">=", "<")),
    ast.GtE: (">=", (">", "<=")),
    ast.Eq: ("==", ("!=",)),
    ast.NotEq: ("!=", ("==",)),
    ast.In: ("in", ("not in",)),
    ast.NotIn: ("not in", ("in",)),
    ast.Is: ("is", ("is not",)),
    ast.IsNot: ("is not", ("is",)),
}
ARITHMETIC: dict[type[ast.operator], tuple[str, tuple[str, ...]]] = {
    ast.Add: ("+", ("-",)),
    ast.Sub: ("-", ("+",)),
    ast.Mult: ("*", ("+", "//")),
    ast.Div: ("/", ("*", "//")),
    ast.FloorDiv: ("//", ("/", "*")),
    ast.Mod: ("%", ("//",)),
    ast.Pow: ("**", ("*",)),
    ast.BitAnd: ("&", ("|",)),
    ast.BitOr: ("|", ("&",)),
    ast.BitXor: ("^", ("&",)),
    ast.LShift: ("<<", (">>",)),
    ast.RShift: (">>", ("<<",)),
}
CONFUSED_NAMES = [
    ("min", "max"), ("any", "all"), ("append", "extend"), ("startswith", "endswith"), ("lstrip", "rstrip"),
    ("strip", "lstrip"), ("upper", "lower"), ("find", "rfind"), ("index", "rindex"), ("split", "rsplit"),
    ("partition", "rpartition"), ("ljust", "rjust"), ("floor", "ceil"), ("popleft", "pop"),
    ("appendleft", "append"), ("bisect_left", "bisect_right"), ("keys", "values"), ("add", "discard"),
    ("union", "intersection"), ("isdigit", "isalpha"), ("sum", "len"), ("title", "capitalize"),
    ("intersection", "difference"), ("sorted", "list"), ("removeprefix", "removesuffix"), ("get", "pop"),
]  # fmt: skip


@dataclass(frozen=True)
class Edit:
    kind: str
    start: int
    end: int
    """Character offsets: `source[start:end]` becomes `text`."""
    text: str


def edits(source: str, tree: ast.Module) -> Iterator[Edit]:
    """Every edit inside function bodies, in source order; not all of them parse or change the program."""
    text = SourceText(source)
    classes: dict[ast.AST, list[str]] = {}
    for node in ast.walk(tree):
        if isinstance(node, ast.ClassDef):
            own = sorted({a.attr for a in _self_attributes(node)})
            classes.update((member, own) for member in node.body if isinstance(member, FUNCTIONS))
    for function in _outermost_functions(tree):
        yield from _Function(text, function, classes.get(function, [])).edits()


def _outermost_functions(tree: ast.AST) -> Iterator[ast.FunctionDef | ast.AsyncFunctionDef]:
    for node in ast.iter_child_nodes(tree):
        if isinstance(node, FUNCTIONS):
            yield node
        else:
            yield from _outermost_functions(node)


def _self_attributes(node: ast.AST) -> Iterator[ast.Attribute]:
    for inner in ast.walk(node):
        if (
            isinstance(inner, ast.Attribute)
            and isinstance(inner.value, ast.Name)
            and inner.value.id == "self"
        ):
            yield inner


class _Function:
    """One outermost function; `attributes` are the names its class uses on `self`."""

    def __init__(self, text: SourceText, node: ast.FunctionDef | ast.AsyncFunctionDef, attributes: list[str]):
        self.text = text
        self.node = node
        self.attributes = attributes
        self.callees = {call.func for call in ast.walk(node) if isinstance(call, ast.Call)}
        self.called_attributes = {c.attr for c in self.callees if isinstance(c, ast.Attribute)}
        self.strings = sorted(
            {s.value for s in self._nodes() if isinstance(s, ast.Constant) and isinstance(s.value, str)}
        )
        self.bound = self._bound_names()

    def edits(self) -> Iterator[Edit]:
        for node in self._nodes():
            match node:
                case ast.Compare():
                    yield from self._comparison(node)
                case ast.BinOp():
                    yield from self._arithmetic(node.op, node.left, node.right, "")
                    yield from self._lost_one(node)
                case ast.AugAssign():
                    yield from self._arithmetic(node.op, node.target, node.value, "=")
                case ast.BoolOp():
                    yield from self._boolean(node)
                case ast.UnaryOp():
                    yield from self._unary(node)
                case ast.Constant():
                    yield from self._constant(node)
                case ast.Name(ctx=ast.Load()):
                    yield from self._name(node)
                case ast.Attribute(ctx=ast.Load()):
                    yield from self._attribute(node)
                case ast.Call():
                    yield from self._call(node)
                case ast.Slice():
                    yield from self._slice(node)
                case ast.Return():
                    yield from self._return(node)
                case ast.If() | ast.While() | ast.IfExp():
                    yield from self._condition(node.test)
                case ast.Break():
                    yield self._replace("loop control", node, "continue")
                case ast.Continue():
                    yield self._replace("loop control", node, "break")
            yield from self._dropped(node)

    def _nodes(self) -> Iterator[ast.AST]:
        """Nodes of the body in source order, without docstrings, annotations and f-strings."""
        queue: list[ast.AST] = list(reversed(self.node.body))
        while queue:
            node = queue.pop()
            # Before Python 3.12 the positions of nodes within f-strings are not real.
            if isinstance(node, ast.JoinedStr) or _is_docstring(node):
                continue
            yield node
            children: Iterable[ast.AST] = ast.iter_child_nodes(node)
            if isinstance(node, ast.AnnAssign):
                children = [node.value] if node.value else []
            if isinstance(node, FUNCTIONS):
                children = node.body
            queue.extend(reversed(list(children)))

    def _bound_names(self) -> dict[str, int]:
        """Local names and the first line that binds each; parameters from the first line on."""
        bound: dict[str, int] = {}
        for node in ast.walk(self.node):
            if isinstance(node, ast.arg) and node.arg not in ("self", "cls"):
                bound.setdefault(node.arg, node.lineno)
            elif isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store):
                bound[node.id] = min(bound.get(node.id, node.lineno), node.lineno)
        return bound

    def _replace(self, kind: str, node: ast.expr | ast.stmt, text: str) -> Edit:
        start, end = self.text.span(node)
        return Edit(kind, start, end, text)

    def _operator(self, kind: str, left: ast.expr, right: ast.expr, old: str, new: str) -> Iterator[Edit]:
        found = self.text.between(self.text.span(left)[1], self.text.span(right)[0], old)
        if found:
            yield Edit(kind, *found, new)

    def _comparison(self, node: ast.Compare) -> Iterator[Edit]:
        for (left, right), op in zip(pairwise([node.left, *node.comparators]), node.ops, strict=True):
            old, others = COMPARISONS[type(op)]
            for new in others:
                yield from self._operator("comparison", left, right, old, new)

    def _arithmetic(self, op: ast.operator, left: ast.expr, right: ast.expr, suffix: str) -> Iterator[Edit]:
        old, others = ARITHMETIC.get(type(op), ("", ()))
        # "%" on a text formats; "+" on one joins: other operators there only raise TypeError at once.
        if _is_text(left) or _is_text(right):
            return
        for new in others:
            yield from self._operator("arithmetic", left, right, old + suffix, new + suffix)

    def _lost_one(self, node: ast.BinOp) -> Iterator[Edit]:
        one = isinstance(node.right, ast.Constant) and node.right.value == 1
        if one and isinstance(node.op, (ast.Add, ast.Sub)):
            yield Edit("off by one", self.text.span(node.left)[1], self.text.span(node)[1], "")

    def _boolean(self, node: ast.BoolOp) -> Iterator[Edit]:
        old, new = ("and", "or") if isinstance(node.op, ast.And) else ("or", "and")
        for left, right in pairwise(node.values):
            yield from self._operator("boolean", left, right, old, new)

    def _unary(self, node: ast.UnaryOp) -> Iterator[Edit]:
        if isinstance(node.op, ast.Not):
            yield Edit("negation", self.text.span(node)[0], self.text.span(node.operand)[0], "")
        if isinstance(node.op, ast.USub):
            yield Edit("negation", self.text.span(node)[0], self.text.span(node.operand)[0], "")

    def _condition(self, test: ast.expr) -> Iterator[Edit]:
        if isinstance(test, (ast.Name, ast.Call, ast.Attribute)):
            yield self._replace("negation", test, f"not {self.text.of(test)}")

    def _constant(self, node: ast.Constant) -> Iterator[Edit]:
        value = node.value
        if isinstance(value, bool):
            yield self._replace("constant", node, str(not value))
        elif isinstance(value, int):
            yield from (self._replace("off by one", node, str(n)) for n in (value + 1, value - 1) if n >= 0)
            if value > 9:
                shuffled = str(value)[1] + str(value)[0] + str(value)[2:]
                wrong = {shuffled.lstrip("0"), str(value * 10), str(value)[:-1]} - {str(value), ""}
                yield from (self._replace("constant", node, text) for text in sorted(wrong))
        elif isinstance(value, float):
            yield from (self._replace("constant", node, repr(n)) for n in (value * 10, value / 2, value + 1))
        elif isinstance(value, str) and "\n" not in self.text.of(node):
            others = [s for s in self.strings if s != value and bool(s.strip()) == bool(value.strip())]
            yield from (self._replace("constant", node, _quoted(s, self.text.of(node))) for s in others)

    def _name(self, node: ast.Name) -> Iterator[Edit]:
        confused = [b if a == node.id else a for a, b in CONFUSED_NAMES if node.id in (a, b)]
        if node in self.callees:
            yield from (self._replace("wrong function", node, name) for name in confused)
        if node.id not in self.bound or node in self.callees:
            return
        for other, line in self.bound.items():
            if other != node.id and line < node.lineno:
                yield self._replace("wrong variable", node, other)

    def _attribute(self, node: ast.Attribute) -> Iterator[Edit]:
        end = self.text.span(node)[1]
        own = isinstance(node.value, ast.Name) and node.value.id == "self"
        others = [b if a == node.attr else a for a, b in CONFUSED_NAMES if node.attr in (a, b)]
        if own and node not in self.callees:
            others = [a for a in self.attributes if a != node.attr and a not in self.called_attributes]
        for other in others:
            yield Edit("wrong attribute", end - len(node.attr), end, other)

    def _call(self, node: ast.Call) -> Iterator[Edit]:
        symmetric = isinstance(node.func, ast.Name) and node.func.id in ("min", "max")
        for left, right in pairwise(node.args):
            if not symmetric and not isinstance(left, ast.Starred) and not isinstance(right, ast.Starred):
                yield from self._swap("swapped arguments", left, right)
        if isinstance(node.func, ast.Name) and node.func.id == "range" and node.args:
            stop = node.args[min(1, len(node.args) - 1)]
            if isinstance(stop, (ast.Name, ast.Call, ast.Attribute)):
                yield self._replace("off by one", stop, self.text.of(stop) + " + 1")
                yield self._replace("off by one", stop, self.text.of(stop) + " - 1")

    def _swap(self, kind: str, left: ast.expr, right: ast.expr) -> Iterator[Edit]:
        (a, b), (c, d) = self.text.span(left), self.text.span(right)
        yield Edit(kind, a, d, self.text.source[c:d] + self.text.source[b:c] + self.text.source[a:b])

    def _slice(self, node: ast.Slice) -> Iterator[Edit]:
        start, end = self.text.span(node)
        for bound in (node.lower, node.upper):
            if bound is None:
                continue
            yield self._replace("slice", bound, "")
            if not isinstance(bound, (ast.Constant, ast.UnaryOp)):
                yield self._replace("slice", bound, self.text.of(bound) + " + 1")
                yield self._replace("slice", bound, self.text.of(bound) + " - 1")
        one_sided = (node.lower is None) != (node.upper is None) and node.step is None
        if one_sided and ":" not in self.text.of(node).strip(":"):
            bare = self.text.of(node).strip(": ")
            yield Edit("slice", start, end, bare + ":" if node.lower is None else ":" + bare)

    def _return(self, node: ast.Return) -> Iterator[Edit]:
        match node.value:
            case ast.Tuple(elts=[left, right]):
                yield from self._swap("return value", left, right)
            case ast.BinOp(left=left, right=right):
                yield self._replace("return value", node.value, self.text.of(left))
                yield self._replace("return value", node.value, self.text.of(right))
            case ast.Call(args=[only], keywords=[]) if not isinstance(only, (ast.Starred, ast.GeneratorExp)):
                yield self._replace("return value", node.value, self.text.of(only))
            case ast.Name(id=name):
                others = [n for n, line in self.bound.items() if n != name and line < node.lineno]
                yield from (self._replace("return value", node.value, other) for other in others)

    def _dropped(self, node: ast.AST) -> Iterator[Edit]:
        for block in ("body", "orelse", "finalbody"):
            statements = getattr(node, block, None)
            if isinstance(statements, list):
                yield from self._dropped_from(statements)
        if node is self.node.body[0]:
            yield from self._dropped_from(self.node.body)

    def _dropped_from(self, statements: list[ast.stmt]) -> Iterator[Edit]:
        if sum(not _is_docstring(s) for s in statements) < 2:
            return
        for statement in statements:
            if not isinstance(statement, SIMPLE_STATEMENTS) or _is_docstring(statement):
                continue
            lines = self.text.whole_lines(statement)
            if lines and self.text.source.count("\n", *lines) <= 1:
                yield Edit("dropped line", *lines, "")


def _is_docstring(node: ast.AST) -> bool:
    return (
        isinstance(node, ast.Expr)
        and isinstance(node.value, ast.Constant)
        and isinstance(node.value.value, str)
    )


def _is_text(node: ast.AST) -> bool:
    return isinstance(node, ast.JoinedStr) or (isinstance(node, ast.Constant) and isinstance(node.value, str))


def _quoted(value: str, like: str) -> str:
    """`value` as a literal in the quotes of the literal `like`."""
    literal = repr(value)
    if re.match(r'[a-zA-Z]*"', like) and '"' not in value and "\\" not in literal and literal[0] == "'":
        return f'"{value}"'
    return literal
