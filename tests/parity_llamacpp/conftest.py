"""Skips what needs llama.cpp where there is none, and prints the differences that were seen."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.parity_llamacpp import peer
from tests.parity_llamacpp.differences import TABLE, Table

HERE = Path(__file__).parent


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    why = peer.missing()
    for item in items:
        if why and HERE in item.path.parents:
            item.add_marker(pytest.mark.skip(reason=why))


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    if TABLE.rows:
        terminalreporter.write_line(f"\n{TABLE}")


@pytest.fixture
def table() -> Table:
    return TABLE
