"""What can go wrong with an engine: each error is one sentence a user can act on."""

from __future__ import annotations


class EngineError(Exception):
    """Base; `str(error)` is one clear sentence that says what is wrong and what to do."""


class ModelNotFound(EngineError):
    """The reference names no catalogue entry, file or folder, or its weights are not here yet."""


class BadModelFile(EngineError):
    """The file is truncated or not what its name says."""


class UnsupportedModel(EngineError):
    """A readable file whose architecture or tensor type this engine does not implement."""


class ContextOverflow(EngineError):
    """Prompt and answer do not fit into the model's context."""


class BadImage(EngineError):
    """An image that cannot be used: of another kind, damaged, or too large."""


class ImageMissing(EngineError):
    """A conversation names an image that this engine process was not shown, or has let go."""


class EngineDied(EngineError):
    """The engine process went away in the middle of a request."""


class PullFailed(EngineError):
    """The weights could not be fetched: no network, no space, or a wrong hash."""
