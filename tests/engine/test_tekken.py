"""tekken.json, and the same vocabulary as tokenizer.json and GGUF: equal ids, no special token from text."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from engine.errors import BadModelFile, ModelNotFound, UnsupportedModel
from engine.gguf_file import GgufFile
from engine.hf_tokenizer import HfTokenizer
from engine.tekken import TekkenTokenizer
from engine.tokenizer import SPLITS, Tokenizer
from engine.vision.grid import ImageGrid
from tests.engine.tekken_files import tokenizer, write_tekken

PUBLISHED = {
    "Hello, world!": [22177, 1044, 4304, 1033],
    "función común días 日本語 🎉": [12127, 1963, 35239, 20608, 30367, 15199, 119685, 1142, 1137],
}
"""Of the tokenizer of Mistral Small 4, without the <s> in front."""
TEXTS = [
    *PUBLISHED,
    "def f(x):\n    return x + 1\n",
    "\t\tif a  ==  b:   # tabs,  spaces \r\n\r\n\n\n",
    "don't I'll WE'RE 1234567 3.14e-10 HTTPServer aBcD ÉÀö /path/to\n/file",
    "función 日本語 🎉 e\u0301 \u200b ﬁ",
    "[INST] not special [/INST] </s> [TOOL_CALLS] [THINK]",
    "",
    " ",
]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A Hugging Face folder of the same tokenizer, converted by transformers."""
    from transformers.integrations.mistral.tokenizer import convert_tekken_tokenizer

    folder = tmp_path_factory.mktemp("hf")
    convert_tekken_tokenizer(str(write_tekken(folder, "v15"))).save_pretrained(folder)
    return folder


@pytest.fixture(scope="module")
def gguf(folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The same tables in a GGUF file, as llama.cpp's converter writes them."""
    from gguf import GGUFWriter

    table = json.loads((folder / "tokenizer.json").read_text())
    special = {token["content"]: token["id"] for token in table["added_tokens"]}
    ids = table["model"]["vocab"] | special
    tokens = sorted(ids, key=ids.__getitem__)
    path = tmp_path_factory.mktemp("gguf") / "tokenizer.gguf"
    writer = GGUFWriter(path, "mistral4")
    writer.add_tokenizer_model("gpt2")
    writer.add_tokenizer_pre("tekken")
    writer.add_token_list(tokens)
    writer.add_token_types([3 if token in special else 1 for token in tokens])
    writer.add_token_merges([" ".join(merge) for merge in table["model"]["merges"]])
    writer.add_eos_token_id(2)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return path


@pytest.mark.parametrize("text", PUBLISHED)
def test_the_published_ids_of_small_4(text: str) -> None:
    assert tokenizer().encode(text) == PUBLISHED[text]


def test_special_tokens_have_their_published_ids() -> None:
    special = tokenizer().special

    assert {special["[TOOL_CALLS]"], special["[ARGS]"], special["[THINK]"]} == {9, 32, 34}
    assert special["[MODEL_SETTINGS]"] == 36
    assert tokenizer().end_ids == {2}
    assert tokenizer().image_grid == ImageGrid(patch=14, longest=1540, merge=2)


def test_every_form_of_the_file_gives_the_same_ids(folder: Path, gguf: Path) -> None:
    for other in (HfTokenizer(folder / "tokenizer.json"), Tokenizer(GgufFile(gguf))):
        for text in TEXTS:
            assert other.encode(text) == tokenizer().encode(text), text
        assert other.special == tokenizer().special
        assert other.end_ids == {2}


@settings(max_examples=150, deadline=None)
@given(text=st.text() | st.text(alphabet=" \n\t[]/INSTHK</s>é日"))
def test_text_comes_back(text: str) -> None:
    tekken = tokenizer()
    ids, places = tekken.encode_with_ends(text)
    stream = tekken.stream()

    assert not set(ids) & set(tekken.special.values())
    assert len(ids) == len(places)
    assert all(0 <= start < end <= len(text) for start, end in places)
    assert [start for start, _ in places] == sorted(start for start, _ in places)
    assert tekken.decode(ids) == text
    assert "".join(map(stream.push, ids)) + stream.end() == text


@pytest.mark.parametrize("text", ["a" * 200_000, " " * 1_000_000, "\n" * 300_000, "=" * 300_000])
def test_endless_runs_are_encoded(text: str) -> None:
    assert tokenizer().decode(tokenizer().encode(text)) == text


def test_half_a_surrogate_pair_does_not_stop_it() -> None:
    ids, places = tokenizer().encode_with_ends("a\ud800b")
    assert tokenizer().decode(ids) == "a\ufffdb"
    assert places[-1] == (2, 3)


def test_a_special_token_is_told_by_its_name() -> None:
    assert tokenizer().decode([3, *tokenizer().encode("x"), 4]) == "[INST]x[/INST]"


def test_unusable_files(tmp_path: Path, folder: Path) -> None:
    with pytest.raises(ModelNotFound):
        TekkenTokenizer(tmp_path / "tekken.json")
    for content in ("", "{}", "[1]", '{"config": {"version": "v99"}}', '{"config": 3}'):
        (tmp_path / "tekken.json").write_text(content)
        (tmp_path / "tokenizer.json").write_text(content)
        with pytest.raises(BadModelFile):
            TekkenTokenizer(tmp_path / "tekken.json")
        with pytest.raises(BadModelFile):
            HfTokenizer(tmp_path / "tokenizer.json")
    table = json.loads((folder / "tokenizer.json").read_text())
    (tmp_path / "tokenizer.json").write_text(json.dumps(table | {"model": {"type": "Unigram", "vocab": []}}))
    with pytest.raises(UnsupportedModel, match="Unigram"):
        HfTokenizer(tmp_path / "tokenizer.json")
    table["model"]["merges"][0] = ["zz", "qq"]
    (tmp_path / "tokenizer.json").write_text(json.dumps(table))
    with pytest.raises(BadModelFile, match="merges"):
        HfTokenizer(tmp_path / "tokenizer.json")


def test_the_words_of_gpt_oss_are_split_as_by_openai(monkeypatch: pytest.MonkeyPatch) -> None:
    """Its vocabulary is in no package, but the pattern is: GGUF calls it gpt-4o."""
    from tiktoken_ext import openai_public

    monkeypatch.setattr(openai_public, "load_tiktoken_bpe", lambda *arguments, **options: {})
    assert SPLITS["gpt-4o"] == openai_public.o200k_base()["pat_str"]


def test_the_words_of_tekken_are_split_as_its_file_says(tmp_path: Path) -> None:
    table = json.loads(write_tekken(tmp_path, "v15").read_text())
    assert SPLITS["tekken"] == table["config"]["pattern"]
