"""A recorder without a sandbox around it: what is asked of it, and what changes under its hands."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from sandbox.recorder.program import Recorder


def asked(recorder: Recorder, op: str, **more: Any) -> dict[str, Any]:
    return recorder.answer({"op": op, "session": "one", "like": [], **more})[0]


def swapping(swap: Callable[[], None], kind: type, name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Swaps something, once, in the moment when this method is called, for what is to be swapped."""
    method, left = getattr(kind, name), [swap]
    wanted = {"_file": "file", "_below": "folder", "_ignored": "folder/"}.get(name)

    def called(self: Any, *args: Any) -> Any:
        if left and (wanted is None or args[1] == wanted):
            left.pop()()
        return method(self, *args)

    monkeypatch.setattr(kind, name, called)
