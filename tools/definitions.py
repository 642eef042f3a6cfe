"""What a new text of a Python file no longer defines: small models leave out what nobody asked about."""

from __future__ import annotations

import json

from sandbox import Workspace
from tools.users_python import SUFFIXES, asked

# Functions, classes and the methods of classes count; a name that is imported or assigned now is still there.
_COMPARE = """
import ast, json, sys

def bound(body, owner=""):
    for node in body:
        if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef)):
            yield owner + node.name, True
            if isinstance(node, ast.ClassDef):
                yield from bound(node.body, owner + node.name + ".")
        elif isinstance(node, (ast.Import, ast.ImportFrom)):
            for name in node.names:
                yield owner + (name.asname or name.name.split(".")[0]), False
        elif isinstance(node, (ast.Assign, ast.AnnAssign)):
            for inner in ast.walk(node):
                if isinstance(inner, ast.Name) and isinstance(inner.ctx, ast.Store):
                    yield owner + inner.id, False
        else:
            for part in ("body", "orelse", "finalbody", "handlers"):
                yield from bound(getattr(node, part, []), owner)

before, after = (
    list(bound(ast.parse(text.encode("latin-1")).body)) for text in json.load(sys.stdin)
)
there = {name for name, _ in after}
gone = dict.fromkeys(name for name, defined in before if defined and name not in there)
print(json.dumps({"gone": [name for name in gone if name.rpartition(".")[0] not in gone]}))
"""


async def lost(workspace: Workspace, path: str, before: bytes, after: bytes) -> list[str]:
    """In the order of the file as it was; nothing where one of both does not parse."""
    if not path.endswith(SUFFIXES):
        return []
    texts = json.dumps([before.decode("latin-1"), after.decode("latin-1")])
    answer = await asked(workspace, _COMPARE, texts.encode())
    gone = (answer or {}).get("gone", [])
    return [name for name in gone if isinstance(name, str)] if isinstance(gone, list) else []
