"""What nobody may read is not read in tier C either: as root, whom no permission stops there."""

from __future__ import annotations

import os

import pytest

from sandbox import Sandbox

from .conftest import Opener, shell


@pytest.fixture(params=["bare", "alone"])
async def place(
    request: pytest.FixtureRequest, open_sandbox: Opener, monkeypatch: pytest.MonkeyPatch
) -> tuple[Sandbox, bool]:
    """A sandbox of tier C, or none; and whether it can be read there."""
    bare = request.param == "bare"
    monkeypatch.setattr("sandbox.box.candidates", lambda *_: [])
    return await open_sandbox(unsafe=bare), bare


@pytest.mark.skipif(os.getuid() != 0, reason="nobody else can read them anyway")
async def test_password_hashes_cannot_be_read(place: tuple[Sandbox, bool]) -> None:
    box, works = place
    output = await shell(box, "cat /etc/shadow > /dev/null && echo readable")
    assert ("readable" in output) is works
