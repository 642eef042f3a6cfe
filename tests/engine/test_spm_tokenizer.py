"""SentencePiece's byte pairs: the ids that its own library gives, and files that are none of its models."""

from __future__ import annotations

from pathlib import Path

import mistral_common
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from engine.errors import BadModelFile, EngineError, ModelNotFound, UnsupportedModel
from engine.spm_tokenizer import SpmTokenizer

DATA = Path(mistral_common.__file__).parent / "data"
V1, V3 = DATA / "tokenizer.model.v1", DATA / "mistral_instruct_tokenizer_240323.model.v3"
TOKENIZERS = {path: SpmTokenizer(path) for path in (V1, V3)}
TEXTS = (
    "Hello  world\n", "    return x  # é日🎉", "[INST] a [/INST]</s><s>", "<0x41><unk>\t",
    "don't ▁x=1;\r\n", " ",
)  # fmt: skip
IDS = {
    V1: [
        [22557, 28705, 1526, 13],
        [260, 604, 1318, 28705, 422, 1233, 29142, 31862],
        [733, 16289, 28793, 264, 733, 28748, 16289, 28793, 700, 28713, 3409, 28713, 28767],
        [523, 28734, 28744, 28781, 28740, 3409, 2060, 28767, 12],
        [949, 28742, 28707, 28705, 1318, 28746, 28740, 1271, 13],
        [259],
    ],
    V3: [
        [23325, 29473, 2294, 781],
        [1028, 1372, 2086, 29473, 1190, 2001, 29910, 32630],
        [1501, 17057, 29561, 1032, 1501, 29516, 17057, 29561, 1468, 29481, 4177, 29481, 29535],
        [1291, 29502, 29512, 29549, 29508, 4177, 2828, 29535, 780],
        [1717, 29510, 29475, 29473, 2086, 29514, 29508, 2039, 781],
        [1027],
    ],
}
"""As sentencepiece 0.2 encodes these texts."""


@pytest.mark.parametrize("path", IDS, ids=lambda path: path.suffix)
def test_ids_are_those_of_sentencepiece(path: Path) -> None:
    tokenizer = TOKENIZERS[path]
    assert [tokenizer.encode(text) for text in TEXTS] == IDS[path]
    assert tokenizer.encode("") == []
    assert tokenizer.version == path.suffix[1:]
    assert tokenizer.end_ids == {tokenizer.special["</s>"]} == {2}
    assert ("[INST]" in tokenizer.special) == (path == V3)


@settings(max_examples=100, deadline=None)
@given(
    path=st.sampled_from(sorted(TOKENIZERS)),
    text=st.lists(st.sampled_from([*TEXTS, "</s>", "x", "\n\n", "ﬁ𝒳"]), max_size=8).map("".join) | st.text(),
)
def test_text_comes_back_whole_and_by_pieces(path: Path, text: str) -> None:
    text = text.replace("▁", "")  # which is how a blank is written
    tokenizer = TOKENIZERS[path]
    ids, places = tokenizer.encode_with_ends(text)

    assert ids == tokenizer.encode(text)
    assert not set(ids) & set(tokenizer.special.values())
    assert tokenizer.decode(ids) == text
    stream = tokenizer.stream()
    assert "".join([stream.push(token_id) for token_id in ids] + [stream.end()]) == text
    covered = [n for start, end in places for n in range(start, end)]
    assert sorted(set(covered)) == list(range(len(text)))
    assert [start for start, _ in places] == sorted(start for start, _ in places)


def test_a_damaged_file_is_one_sentence(tmp_path: Path) -> None:
    whole = V1.read_bytes()
    broken = tmp_path / "tokenizer.model"
    for data in (
        b"",
        b"hello",
        whole[:-1],
        whole[:5000],
        b"\x0a\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\x01",
    ):
        broken.write_bytes(data)
        with pytest.raises(EngineError) as told:
            SpmTokenizer(broken)
        assert str(broken) in str(told.value) and "\n" not in str(told.value)
    with pytest.raises(ModelNotFound):
        SpmTokenizer(tmp_path / "none.model")


def test_a_model_of_another_kind_is_refused(tmp_path: Path) -> None:
    """Without the trainer's settings it would be one of unigrams; without pieces for bytes, text is lost."""
    pieces = b"".join(_field(1, _field(1, text.encode())) for text in ("<unk>", "<s>", "</s>", "▁a"))
    path = tmp_path / "tokenizer.model"
    path.write_bytes(pieces)
    with pytest.raises(UnsupportedModel, match="no tokenizer of Mistral's kind"):
        SpmTokenizer(path)
    path.write_bytes(pieces + _field(2, b"\x18\x02") + _field(3, b"\x20\x00"))
    with pytest.raises(BadModelFile, match="begin and end a text"):
        SpmTokenizer(path)


def _field(number: int, data: bytes) -> bytes:
    return bytes([number << 3 | 2, len(data)]) + data
