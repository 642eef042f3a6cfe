"""The engine room's public door: a client of the engine process, and what it is asked and answers.

Importing this loads neither torch nor a tokenizer; those live in the engine process alone.
"""

from __future__ import annotations

from engine.client import Engine
from engine.errors import (
    BadImage,
    BadModelFile,
    ContextOverflow,
    EngineDied,
    EngineError,
    ImageMissing,
    ModelNotFound,
    PullFailed,
    UnsupportedModel,
)
from engine.request import (
    Alternative,
    BranchRequest,
    BranchStart,
    Capabilities,
    ChatRequest,
    Continuation,
    Cost,
    Delta,
    Effort,
    Message,
    PrefillDelta,
    Sampling,
    ScoredToken,
    ScoreRequest,
    ShownImage,
    TextDelta,
    ThinkingDelta,
    ToolCall,
    ToolCallDelta,
    ToolSpec,
    Usage,
)

__all__ = [
    "Engine",
    "ChatRequest",
    "Message",
    "Sampling",
    "Effort",
    "ToolSpec",
    "ToolCall",
    "Delta",
    "PrefillDelta",
    "ThinkingDelta",
    "TextDelta",
    "ToolCallDelta",
    "Usage",
    "ScoreRequest",
    "ScoredToken",
    "Alternative",
    "BranchRequest",
    "BranchStart",
    "Continuation",
    "Cost",
    "Capabilities",
    "ShownImage",
    "EngineError",
    "ModelNotFound",
    "BadModelFile",
    "UnsupportedModel",
    "ContextOverflow",
    "BadImage",
    "ImageMissing",
    "EngineDied",
    "PullFailed",
]
