"""Reading a model's weights from every layout that they are published in, as the same function.

    checkpoint = open_checkpoint(path)                # headers and configuration only
    checkpoint.weight("lm_head.weight").rows(0, 64)   # float32 [64, columns], read now
    checkpoint.expert(layer=3, n=17).gate.floats()    # float32 [intermediate, hidden]

| Layout | Module |
|---|---|
| config.json, model*.safetensors: BF16, FP8, NVFP4, MXFP4 | `hf.py` |
| params.json, consolidated*.safetensors: BF16, FP8, NVFP4 | `native.py` |
| GGUF of architecture mistral4, also in parts | `gguf.py` |

All become a `NamedCheckpoint`: weights under the state-dict names of the transformers class. No pickle is
opened anywhere, and what is wrong with a file is said in one sentence (`engine.errors`).
"""

from engine.checkpoints.open import open_checkpoint
from engine.checkpoints.weight import Checkpoint, Expert, GroupedInts, Levels, Weight

__all__ = ["open_checkpoint", "Checkpoint", "Expert", "GroupedInts", "Levels", "Weight"]
