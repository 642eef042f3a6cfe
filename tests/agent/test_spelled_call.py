from __future__ import annotations

import pytest

from agent.spelled_call import spelled_call


@pytest.mark.parametrize(
    ("answer", "name"),
    [
        ('{"name": "x", "arguments": {}}', "x"),
        ('```json\n{"name": "x", "arguments": {"a": "b\nc"}}\n```\n', "x"),
        ('```\n{"arguments": {}, "name": ""}\n```', ""),
        ('I call {"name": "x", "arguments": {}}', None),
        ('{"name": "x", "arguments": {}} and so on', None),
        ('{"name": "x", "arguments": []}', None),
        ('{"name": "x", "arguments": {}, "version": 1}', None),
        ('{"name": "x"}', None),
        ("[" * 100_000, None),
        ("Done.", None),
        ("", None),
    ],
)
def test_what_spells_a_call(answer: str, name: str | None) -> None:
    assert spelled_call(answer) == name
