"""Framing: what is written is read back, and what is no frame is refused."""

from __future__ import annotations

import asyncio
import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st

from engine import errors, wire
from engine.wire import WireError

VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=6,
)


def read(data: bytes) -> wire.Frame | None:
    async def feed() -> wire.Frame | None:
        reader = asyncio.StreamReader()
        reader.feed_data(data)
        reader.feed_eof()
        return await wire.read_frame(reader)

    return asyncio.run(feed())


@given(body=st.dictionaries(st.text(), VALUES, max_size=4))
def test_round_trip(body: dict):
    frame = body | {"type": "chat"}
    assert read(wire.encode(frame)) == frame


def test_lone_surrogates_survive():
    frame = {"type": "chat", "text": "\udc80"}  # a file name that is no UTF-8
    assert read(wire.encode(frame)) == frame


@pytest.mark.parametrize("cut", [0, 1, 4, 9])
def test_a_torn_frame_is_a_hang_up(cut: int):
    assert read(wire.encode({"type": "hello"})[:cut]) is None


@pytest.mark.parametrize("body", [b"{", b"[]", b"{}", b'{"type": 1}', b"\xff"])
def test_no_frame(body: bytes):
    with pytest.raises(WireError):
        read(struct.pack(">I", len(body)) + body)


def test_too_long(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(wire, "MAX_FRAME", 100)
    with pytest.raises(WireError, match="too long"):
        wire.encode({"type": "chat", "text": "x" * 100})
    with pytest.raises(WireError, match="100 is the limit"):
        read(struct.pack(">I", 101))


@pytest.mark.parametrize("kind", [errors.BadModelFile, errors.ContextOverflow, errors.EngineError])
def test_errors_keep_their_class_and_sentence(kind: type[errors.EngineError]):
    error = wire.error_from(wire.error_frame(kind("What is wrong."), 3))
    assert type(error) is kind
    assert str(error) == "What is wrong."


@pytest.mark.parametrize("name", ["KeyboardInterrupt", "annotations", "New", None])
def test_unknown_error_classes(name):
    assert type(wire.error_from({"type": "error", "error": name, "message": "x"})) is errors.EngineError


def test_build_is_stable():
    assert wire.build() == wire.build()
    assert "+" in wire.build()
