"""The tokenizer of a Hugging Face folder (tokenizer.json), its special tokens out of the reach of text.

The library itself would find the name of an added token in any text and make the token of it. So the added
tokens are taken out before the library sees the tables; only a family puts them into a prompt, by name.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from engine.byte_level import ByteLevelTokenizer
from engine.errors import BadModelFile, ModelNotFound, UnsupportedModel


class HfTokenizer(ByteLevelTokenizer):
    """A byte-level BPE of a tokenizer.json. Raises ModelNotFound, BadModelFile or UnsupportedModel."""

    def __init__(self, path: Path):
        """`path` is the tokenizer.json; its chat template and end tokens are looked for beside it."""
        table = _json(path)
        try:
            model, added = table["model"], table.get("added_tokens") or []
            if model["type"] != "BPE" or not _is_byte_level(table):
                raise UnsupportedModel(
                    f"{path} is no byte-level BPE ({model['type']}); such tokenizers are not supported yet."
                )
            special = {str(token["content"]): int(token["id"]) for token in added}
            ids: dict[str, int] = {**model["vocab"], **special}
            tokens = [""] * (max(ids.values()) + 1)
            for token, n in ids.items():
                tokens[n] = token
            merges = [_pair(merge) for merge in model["merges"]]
            split, whole = _split(table), bool(model.get("ignore_merges"))
            settings = _beside(path, "tokenizer_config.json")
            super().__init__(
                tokens,
                special,
                merges,
                split,
                end_ids=_ends(path, settings, special),
                chat_template=_chat_template(path, settings),
                ignore_merges=whole,
            )
        except (KeyError, TypeError, ValueError, IndexError, AttributeError, MemoryError) as error:
            raise BadModelFile(f"{path} is no usable tokenizer ({error}); fetch it again.") from None


def is_byte_level(path: Path) -> bool:
    """Whether a tokenizer.json is of the kind that is read here. Raises ModelNotFound or BadModelFile."""
    table = _json(path)
    try:
        return table["model"]["type"] == "BPE" and _is_byte_level(table)
    except (KeyError, TypeError, AttributeError):
        return False


def chat_template_beside(folder: Path) -> str:
    """Of a model's folder; empty where it has none."""
    path = folder / "tokenizer.json"
    return _chat_template(path, _beside(path, "tokenizer_config.json"))


def _json(path: Path) -> dict[str, Any]:
    try:
        value = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise ModelNotFound(f"There is no tokenizer at {path}.") from None
    except (OSError, ValueError, RecursionError) as error:
        raise BadModelFile(f"{path} cannot be read as JSON ({error}); fetch it again.") from None
    if not isinstance(value, dict):
        raise BadModelFile(f"{path} is not a JSON object; fetch it again.")
    return value


def _beside(path: Path, name: str) -> dict[str, Any]:
    other = path.with_name(name)
    return _json(other) if other.is_file() else {}


def _pair(merge: Any) -> tuple[str, str]:
    """Merges are written as "a b", or as pairs in newer files."""
    left, right = merge.split(" ", 1) if isinstance(merge, str) else merge
    return left, right


def _steps(step: dict[str, Any] | None, among: str) -> list[dict[str, Any]]:
    """The steps of a pre-tokenizer, one or a sequence."""
    if not step:
        return []
    return list(step[among]) if step["type"] == "Sequence" else [step]


def _is_byte_level(table: dict[str, Any]) -> bool:
    steps = _steps(table.get("pre_tokenizer"), "pretokenizers")
    normalisers = _steps(table.get("normalizer"), "normalizers")
    kinds = {step["type"] for step in steps}
    return "ByteLevel" in kinds and kinds <= {"ByteLevel", "Split"} and all(
        step["type"] in ("NFC", "NFKC") for step in normalisers
    )  # fmt: skip


def _split(table: dict[str, Any]) -> str:
    """The one pattern that words are split by."""
    splits = [
        step["pattern"]["Regex"]
        for step in _steps(table["pre_tokenizer"], "pretokenizers")
        if step["type"] == "Split"
    ]
    if len(splits) != 1:
        raise UnsupportedModel(f"A tokenizer that splits words by {len(splits)} patterns is not supported.")
    return splits[0]


def _ends(path: Path, settings: dict[str, Any], special: dict[str, int]) -> frozenset[int]:
    """What ends a text: of generation_config.json, config.json, or the tokenizer's own settings."""
    for name in ("generation_config.json", "config.json"):
        ends = _beside(path, name).get("eos_token_id")
        if ends is not None:
            return frozenset(int(end) for end in (ends if isinstance(ends, list) else [ends]))
    end = settings.get("eos_token")
    name = end.get("content") if isinstance(end, dict) else end
    return frozenset({special[name]} if name in special else ())


def _chat_template(path: Path, settings: dict[str, Any]) -> str:
    file = path.with_name("chat_template.jinja")
    if file.is_file():
        return file.read_text(encoding="utf-8")
    template = settings.get("chat_template")
    return template if isinstance(template, str) else ""
