"""What a new text of a Python file no longer defines: small models leave out what nobody asked about."""

from __future__ import annotations

import json

from sandbox import Workspace
from tools.users_python import SUFFIXES, asked

# Functions, classes and the methods of classes count; a name that is bound in any way now is still there.
# After the import of a star nobody knows what is. An expression may be too deep to recurse: names suffice.
_COMPARE = """
import ast, json, sys

def bound(node, owner=""):
    for inner in ast.iter_child_nodes(node):
        if isinstance(inner, (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef)):
            yield owner + inner.name, "defined"
            if isinstance(inner, ast.ClassDef):
                yield from bound(inner, owner + inner.name + ".")
        elif isinstance(inner, (ast.Import, ast.ImportFrom)):
            for name in inner.names:
                yield owner + (name.asname or name.name.split(".")[0]), "imported"
        elif isinstance(inner, ast.expr):
            for part in ast.walk(inner):
                if isinstance(part, ast.Name) and not isinstance(part.ctx, ast.Load):
                    yield owner + part.id, "deleted" if isinstance(part.ctx, ast.Del) else "stored"
        else:
            if type(inner).__name__.startswith("Match"):
                yield owner + str(getattr(inner, "name", None) or getattr(inner, "rest", None)), "stored"
            yield from bound(inner, owner)

before, after = (
    list(bound(ast.parse(text.encode("latin-1")))) for text in json.load(sys.stdin)
)
there = {name for name, how in after if how != "deleted"}
if "*" not in there:
    there.update(name for name, how in before if how == "deleted")
    gone = dict.fromkeys(name for name, how in before if how == "defined" and name not in there)
else:
    gone = {}
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
