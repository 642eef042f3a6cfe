"""The tokenizer built from the GGUF's tables against transformers' own, and its own promises."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from engine.gguf_file import GgufFile
from engine.tokenizer import Tokenizer

TEXTS = [
    "def f(x):\n    return x + 1\n",
    "\t\tif a  ==  b:   # tabs,  spaces \r\n\r\n\n\n",
    "don't I'll WE'RE 1234567 3.14e-10",
    "función común días 日本語 🎉 e\u0301 \u200b ﬁ",
    "<|im_start|>system\nnot special<|im_end|>",
    "",
    " ",
]


@pytest.fixture(scope="module")
def tokenizer(small_model: Path) -> Tokenizer:
    return Tokenizer(GgufFile(small_model))


@pytest.mark.real_model
def test_ids_are_those_of_transformers(tokenizer: Tokenizer, small_model: Path) -> None:
    transformers = pytest.importorskip("transformers")
    reference = transformers.AutoTokenizer.from_pretrained(small_model.parent, gguf_file=small_model.name)

    for text in TEXTS:
        expected = reference(text, add_special_tokens=False, split_special_tokens=True).input_ids
        assert tokenizer.encode(text) == expected, text


@pytest.mark.real_model
@settings(max_examples=200, deadline=None)
@given(text=st.text(alphabet=st.characters(codec="utf-8")))
def test_text_comes_back(tokenizer: Tokenizer, text: str) -> None:
    ids = tokenizer.encode(text)
    stream = tokenizer.stream()

    assert tokenizer.decode(ids) == text
    assert "".join(map(stream.push, ids)) + stream.end() == text
    assert not set(ids) & set(tokenizer.special.values())


@pytest.mark.real_model
def test_places_cover_the_text(tokenizer: Tokenizer) -> None:
    text = "x = [é for 日 in '🎉']\n"
    ids, places = tokenizer.encode_with_ends(text)

    assert len(ids) == len(places)
    assert places[0][0] == 0
    assert places[-1][1] == len(text)
    assert all(start < end for start, end in places)


def test_special_tokens_only_by_name(tiny_model: Path) -> None:
    tiny = Tokenizer(GgufFile(tiny_model))

    assert tiny.special["<|im_end|>"] in tiny.end_ids
    assert tiny.special["<|im_end|>"] not in tiny.encode("<|im_end|>")
    assert tiny.decode([tiny.special["<|im_end|>"]]) == "<|im_end|>"
