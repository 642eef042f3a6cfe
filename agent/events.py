"""The one stream of typed events from the agent to every face, and the commands back.

The schema is a contract (docs/events.md, pinned by golden files). Readers ignore unknown types and
fields; `v` changes only when a meaning does.
"""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, TypeAdapter

Outcome = Literal["done", "unsolved", "limit", "usage", "environment", "refused", "fault", "interrupted"]
EXIT_CODES: dict[str, int] = {
    "done": 0, "unsolved": 1, "limit": 1, "usage": 2, "environment": 3, "refused": 4, "fault": 70,
    "interrupted": 130,
}  # fmt: skip


Phase = Literal["verify", "localise", "search", "tools", "minimise"]


class Event(BaseModel):
    model_config = ConfigDict(frozen=True)

    v: Literal[1] = 1
    t: float = 0.0
    """Seconds since the run started; stamped by the session when the event is emitted."""


class Start(Event):
    type: Literal["start"] = "start"
    session: str
    repo: str
    task: str | None = None
    command: list[str] | None = None
    """What must pass (`fix -- CMD`, `run --verify CMD`)."""
    version: str
    sandbox: dict[str, Any]
    """`mechanism`, `tier`, and what is `enforced` and `not_enforced`, in plain words."""
    resumed: bool = False


class Model(Event):
    type: Literal["model"] = "model"
    ref: str
    family: str
    context: int
    state: Literal["loading", "ready"]


class Step(Event):
    type: Literal["step"] = "step"
    step: int
    phase: Phase


class EffortChange(Event):
    type: Literal["effort"] = "effort"
    effort: Literal["none", "high"]
    reasons: list[str]


class Thinking(Event):
    type: Literal["thinking"] = "thinking"
    text: str


class Text(Event):
    type: Literal["text"] = "text"
    text: str


class ToolCallEvent(Event):
    type: Literal["tool_call"] = "tool_call"
    id: str
    name: str
    arguments: dict[str, Any] | str
    """An object, or the raw text where it was malformed."""


class ToolOutput(Event):
    type: Literal["tool_output"] = "tool_output"
    id: str
    text: str


class ToolResultEvent(Event):
    type: Literal["tool_result"] = "tool_result"
    id: str
    ok: bool
    text: str
    """What the model sees."""
    seconds: float
    data: dict[str, Any] = {}


class Approval(Event):
    type: Literal["approval"] = "approval"
    id: str
    what: str
    """The tool, and all of the command that would run; what is not seen in it is written as `\\u202e`."""
    detail: str = ""
    """With `asked`: all that would be written."""
    decision: Literal["asked", "allowed", "denied"]


class Candidate(Event):
    """One candidate patch and what the tests said of it."""

    type: Literal["candidate"] = "candidate"
    n: int
    file: str
    line: int
    before: str
    after: str
    verdict: Literal["passed", "failed", "broken", "timeout"]
    passed: int | None = None
    failed: int | None = None


class Progress(Event):
    """How far a step is that has said nothing for a while."""

    type: Literal["progress"] = "progress"
    phase: Phase | Literal["starting", "loading"]
    seconds: float
    """Since the step, or the loading of the model, began."""
    candidates: int
    """Tried in this step."""
    read: int
    written: int
    """Tokens, in this step."""


class Verify(Event):
    type: Literal["verify"] = "verify"
    command: list[str]
    exit_code: int | None
    seconds: float
    passed: bool
    failing: list[str] = []
    """Test ids, where the runner's output names them."""
    tail: str = ""


class Checkpoint(Event):
    type: Literal["checkpoint"] = "checkpoint"
    step: int = 0
    """Its number among the session's checkpoints: what `ostro undo --to` takes."""
    tree: str
    label: str


class UndoEvent(Event):
    """The files were put back as a checkpoint has them."""

    type: Literal["undo"] = "undo"
    kind: Literal["undo", "redo"]
    step: int
    label: str
    tree: str
    files: list[str]
    """What is different now."""


class UsageEvent(Event):
    type: Literal["usage"] = "usage"
    prompt: int
    cached: int
    generated: int
    effort: Literal["none", "high"]
    prefill_seconds: float
    decode_seconds: float


class Warn(Event):
    type: Literal["warning"] = "warning"
    text: str


class Tokens(BaseModel):
    prompt: int = 0
    cached: int = 0
    generated: int = 0
    forced: int = 0
    drafted: int = 0
    accepted: int = 0


class End(Event):
    type: Literal["end"] = "end"
    outcome: Outcome
    reason: str = ""
    """One sentence, for every outcome but done; for done where `--commit` was given."""
    verified: bool | None
    steps: int = 0
    seconds: float = 0.0
    tokens: Tokens = Tokens()
    effort: dict[str, int] = {}
    """Steps at each level."""
    denied: list[str] = []
    changed_files: list[str] = []
    patch: str = ""
    """`git diff --binary` form against the tree at `start`."""
    exit_code: int = 0
    commit: str | None = None
    """The id of the commit that `--commit` made; no hook and no signing ran for it."""


AnyEvent = Annotated[
    Start | Model | Step | EffortChange | Thinking | Text | ToolCallEvent | ToolOutput
    | ToolResultEvent | Approval | Candidate | Progress | Verify | Checkpoint | UndoEvent | UsageEvent | Warn
    | End,
    Field(discriminator="type"),
]  # fmt: skip
EVENT: TypeAdapter[AnyEvent] = TypeAdapter(AnyEvent)
