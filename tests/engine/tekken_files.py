"""tekken.json files of every template version, made from the one in mistral-common's wheel.

No v15 file is published in a package, but the vocabulary has not changed since 2024: with the special tokens,
image settings and effort of Mistral Small 4 the file gives the ids that were published for it.
"""

from __future__ import annotations

import functools
import json
import tempfile
from pathlib import Path

import mistral_common
from mistral_common.tokens.tokenizers.mistral import MistralTokenizer

from engine.tekken import TekkenTokenizer

BASE = [
    "<unk>",
    "<s>",
    "</s>",
    "[INST]",
    "[/INST]",
    "[AVAILABLE_TOOLS]",
    "[/AVAILABLE_TOOLS]",
    "[TOOL_RESULTS]",
    "[/TOOL_RESULTS]",
    "[TOOL_CALLS]",
    "[IMG]",
    "<pad>",
    "[IMG_BREAK]",
    "[IMG_END]",
    "[PREFIX]",
    "[MIDDLE]",
    "[SUFFIX]",
    "[SYSTEM_PROMPT]",
    "[/SYSTEM_PROMPT]",
    "[TOOL_CONTENT]",
]
LATER = {32: "[ARGS]", 33: "[CALL_ID]", 34: "[THINK]", 35: "[/THINK]", 36: "[MODEL_SETTINGS]"} | {
    37: "[/MODEL_SETTINGS]"
}
KNOWN = {"v3": 20, "v7": 20, "v11": 34, "v13": 36, "v15": 38}
"""Special tokens that have a name in the file of each version."""
EFFORT = {
    "reasoning_effort": {
        "type": "enum", "values": ["none", "high"], "accepts_none": True, "default": "none",
    }
}  # fmt: skip
PIXTRAL = {"image_patch_size": 16, "max_image_size": 1024, "spatial_merge_size": 1}
SMALL_4 = {"image_patch_size": 14, "max_image_size": 1540, "spatial_merge_size": 2}


def write_tekken(folder: Path, version: str) -> Path:
    """The file of a version."""
    source = Path(mistral_common.__file__).parent / "data" / "tekken_240911.json"
    table = json.loads(source.read_text(encoding="utf-8"))
    table.pop("multimodal", None)
    table["config"]["version"] = version
    table["special_tokens"] = [
        {"rank": n, "token_str": special_name(n), "is_control": True} for n in range(KNOWN[version])
    ]
    table["image"] = SMALL_4 if version == "v15" else PIXTRAL
    if version == "v15":
        table["model_settings_builder"] = EFFORT
    path = folder / "tekken.json"
    path.write_text(json.dumps(table), encoding="utf-8")
    return path


def special_name(n: int) -> str:
    return BASE[n] if n < len(BASE) else LATER.get(n, f"<SPECIAL_{n}>")


@functools.cache
def tokenizer(version: str = "v15") -> TekkenTokenizer:
    with tempfile.TemporaryDirectory(prefix="ostro-tekken-") as folder:
        return TekkenTokenizer(write_tekken(Path(folder), version))


@functools.cache
def reference(version: str = "v15") -> MistralTokenizer:
    """mistral-common's own encoder of chats."""
    with tempfile.TemporaryDirectory(prefix="ostro-tekken-") as folder:
        return MistralTokenizer.from_file(str(write_tekken(Path(folder), version)))
