"""SentencePiece's byte pairs: the ids that its own library gives, and files that are none of its models."""

from __future__ import annotations

import struct
from pathlib import Path

import mistral_common
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sentencepiece import SentencePieceProcessor

from engine.errors import BadModelFile, EngineError, ModelNotFound, UnsupportedModel
from engine.sentencepiece_file import Kind
from engine.spm_tokenizer import SpmTokenizer

DATA = Path(mistral_common.__file__).parent / "data"
V1, V3 = DATA / "tokenizer.model.v1", DATA / "mistral_instruct_tokenizer_240323.model.v3"
TOKENIZERS = {path: SpmTokenizer(path) for path in (V1, V3)}
LIBRARY = {path: SentencePieceProcessor(model_file=str(path)) for path in TOKENIZERS}
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


def varint(number: int) -> bytes:
    return bytes([number]) if number < 128 else bytes([number & 127 | 128]) + varint(number >> 7)


def field(number: int, data: bytes) -> bytes:
    return varint(number << 3 | 2) + varint(len(data)) + data


def piece(text: str, kind: Kind | int = Kind.NORMAL, score: float = 0.0) -> bytes:
    return field(1, field(1, text.encode()) + b"\x15" + struct.pack("<f", score) + b"\x18" + varint(kind))


SMALL = b"".join([
    piece("<unk>", Kind.UNKNOWN), piece("<s>", Kind.CONTROL), piece("</s>", Kind.CONTROL),
    *(piece(f"<0x{n:02X}>", Kind.BYTE) for n in range(256)),
    piece("▁"), piece("a"), piece("b"), piece("ab", score=-1.0), piece("▁ab", score=-2.0), piece("é"),
    field(2, b"\x18\x02"), field(3, b"\x20\x00"),
])  # fmt: skip
"""A whole tokenizer.model: trained as byte pairs, no blanks dropped."""


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
    tokenizer = TOKENIZERS[path]
    ids, places = tokenizer.encode_with_ends(text)
    told = text.replace("▁", " ")  # which is how a blank is written

    assert ids == tokenizer.encode(text)
    assert not set(ids) & set(tokenizer.special.values())
    assert tokenizer.decode(ids) == told
    stream = tokenizer.stream()
    assert "".join([stream.push(token_id) for token_id in ids] + [stream.end()]) == told
    covered = [n for start, end in places for n in range(start, end)]
    assert sorted(set(covered)) == list(range(len(text)))
    assert [start for start, _ in places] == sorted(start for start, _ in places)


@pytest.mark.parametrize("path", TOKENIZERS, ids=lambda path: path.suffix)
def test_a_blank_of_the_model_in_the_text_shifts_no_place(path: Path) -> None:
    ids, places = TOKENIZERS[path].encode_with_ends("▁é▁▁z")
    assert TOKENIZERS[path].token_bytes(ids[-1]).endswith(b"z")
    assert places[-1][1] == 5
    assert TOKENIZERS[path].encode_with_ends(" é  z") == (ids, places)


@settings(max_examples=200, deadline=None)
@given(
    path=st.sampled_from(sorted(TOKENIZERS)),
    text=st.lists(st.sampled_from([*TEXTS, "</s>", "the ", "x", "\n\n", "ﬁ𝒳"]), max_size=8).map("".join)
    | st.text(st.characters(exclude_categories=["Cs"])),
)
def test_any_text_has_the_ids_of_sentencepiece(path: Path, text: str) -> None:
    assert TOKENIZERS[path].encode(text) == LIBRARY[path].encode(text)


@pytest.mark.parametrize("path", TOKENIZERS, ids=lambda path: path.suffix)
def test_source_code_has_the_ids_of_sentencepiece(path: Path) -> None:
    text = Path(__file__).read_text(encoding="utf-8")
    assert TOKENIZERS[path].encode(text) == LIBRARY[path].encode(text)


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
    pieces = b"".join(piece(text) for text in ("<unk>", "<s>", "</s>", "▁a"))
    path = tmp_path / "tokenizer.model"
    path.write_bytes(pieces)
    with pytest.raises(UnsupportedModel, match="no tokenizer of Mistral's kind"):
        SpmTokenizer(path)
    path.write_bytes(pieces + field(2, b"\x18\x02") + field(3, b"\x20\x00"))
    with pytest.raises(BadModelFile, match="begin and end a text"):
        SpmTokenizer(path)


@pytest.mark.parametrize(
    ("pieces", "said"),
    [
        (
            b"".join(piece("ab"[n % 2] * n) for n in range(2, 258)),
            "a piece of 257 bytes, and 256 are the most",
        ),
        (piece("é" * 100_000), "a piece of 200,000 bytes"),
        (piece("ab") * 2, "it has a piece twice"),
        (field(1, b""), "no usable SentencePiece model;"),
        (field(1, field(2, b"ab")), "no usable SentencePiece model;"),
        (piece(""), "no usable SentencePiece model;"),
        (piece("ab", score=float("nan")), "no usable SentencePiece model;"),
        (piece("ab", kind=9), "no usable SentencePiece model;"),
    ],
    ids=["long", "very long", "twice", "nothing", "no text", "empty text", "no score", "no kind"],
)
def test_senseless_pieces_are_one_sentence(pieces: bytes, said: str, tmp_path: Path) -> None:
    path = tmp_path / "tokenizer.model"
    path.write_bytes(SMALL + pieces)
    with pytest.raises(BadModelFile) as told:
        SpmTokenizer(path)
    assert said in str(told.value) and "\n" not in str(told.value)


def test_without_a_blank_no_text_could_be_written(tmp_path: Path) -> None:
    path = tmp_path / "tokenizer.model"
    path.write_bytes(SMALL.replace(piece("▁"), piece("_")))
    with pytest.raises(BadModelFile, match="no piece for a blank"):
        SpmTokenizer(path)


@settings(max_examples=300, deadline=None)
@given(
    flips=st.lists(st.tuples(st.integers(0, len(SMALL) - 1), st.integers(1, 255)), max_size=4),
    end=st.just(len(SMALL)) | st.integers(0, len(SMALL)),
)
def test_whatever_is_damaged_it_is_read_or_refused(
    flips: list[tuple[int, int]], end: int, tmp_path_factory: pytest.TempPathFactory
) -> None:
    data = bytearray(SMALL)
    for at, bits in flips:
        data[at] ^= bits
    path = tmp_path_factory.getbasetemp() / "tokenizer.model"
    path.write_bytes(data[:end])
    try:
        tokenizer = SpmTokenizer(path)
    except EngineError as error:
        assert str(path) in str(error) and "\n" not in str(error)
        return
    for text in ("ab é\n", "▁", "x<s>"):
        assert tokenizer.decode(tokenizer.encode(text)) == text.replace("▁", " ")
