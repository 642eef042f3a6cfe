"""The engine room's public door: a client of the engine process, and what it is asked and answers.

Importing this loads neither torch nor a tokenizer; those live in the engine process alone.
"""

from __future__ import annotations

from engine.client import Engine
from engine.errors import (
    BadModelFile,
    ContextOverflow,
    EngineDied,
    EngineError,
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
    "EngineError",
    "ModelNotFound",
    "BadModelFile",
    "UnsupportedModel",
    "ContextOverflow",
    "EngineDied",
    "PullFailed",
]
