"""Which models can be hosted: by `model_type`, the class of transformers that defines it, and what its layers
keep."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from engine.errors import UnsupportedModel


@dataclass(frozen=True)
class Hosted:
    """How a `model_type` is built."""

    class_name: str
    """In transformers."""
    text_only: bool = False
    """The class is the text model of a wrapper: its `text_config` is built, and what else there is left
    out."""


HOSTED = {
    "mistral4": Hosted("Mistral4ForCausalLM"),
    "mistral3": Hosted("Mistral3ForConditionalGeneration"),
    "mistral": Hosted("MistralForCausalLM"),
    "ministral3": Hosted("Ministral3ForCausalLM"),
    "mixtral": Hosted("MixtralForCausalLM"),
    "gpt_oss": Hosted("GptOssForCausalLM"),
    "qwen3_moe": Hosted("Qwen3MoeForCausalLM"),
    "qwen3_next": Hosted("Qwen3NextForCausalLM"),
    "qwen3_5_moe": Hosted("Qwen3_5MoeForCausalLM", text_only=True),
    "qwen3_5_moe_text": Hosted("Qwen3_5MoeForCausalLM"),
}
TEXT_MODELS = {"mistral4", "mistral", "ministral3"}
"""Within mistral3."""

REFUSED = {
    "mistral_large4": "its attention picks tokens by an index that the cache here does not keep",
    "deepseek_v3": "its router adds a learned correction for which there is no test of parity here",
    "llama4": "its layers attend within chunks, which the cache here does not know",
    "mamba": "none of its layers attends, and the cache here is built around those that do",
    "qwen3_omni_moe": "it listens and speaks, and only text and images are read here",
}
"""Why one is not hosted, for those that people ask about."""


def hosted(config: dict[str, Any], where: Any) -> Hosted:
    """How to build what `config` (config.json) describes. Raises UnsupportedModel, in one sentence."""
    kind = config.get("model_type")
    if kind in REFUSED:
        raise UnsupportedModel(f"{where} is a {kind} model, which cannot be hosted: {REFUSED[kind]}.")
    if kind not in HOSTED:
        known = ", ".join(sorted(HOSTED))
        raise UnsupportedModel(f"{where} is a model of type {kind!r}; this engine hosts {known}.")
    if kind == "mistral3":
        inner = (config.get("text_config") or {}).get("model_type", "mistral")
        if inner not in TEXT_MODELS:
            known = ", ".join(sorted(TEXT_MODELS))
            raise UnsupportedModel(f"{where} is a mistral3 model over {inner!r}; this engine hosts {known}.")
    return HOSTED[kind]
