"""What a face may tell a session, one type a command: `Session.send(command)`."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field


class SessionCommand(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class SendMessage(SessionCommand):
    """A user's message: starts a turn, or steers the one that is running."""

    type: Literal["message"] = "message"
    text: str = Field(min_length=1)


class Interrupt(SessionCommand):
    """Stop what runs now. A headless run ends by it; a session waits for the next message."""

    type: Literal["interrupt"] = "interrupt"


class Stop(SessionCommand):
    """End the session; `terminated` where a signal other than Ctrl-C asked for it."""

    type: Literal["stop"] = "stop"
    terminated: bool = False


class Approve(SessionCommand):
    type: Literal["approve"] = "approve"
    id: str
    """The id of the `approval` event that asked."""


class Deny(SessionCommand):
    type: Literal["deny"] = "deny"
    id: str


class Undo(SessionCommand):
    """Put the files back as they were at a checkpoint, one back by default; between two turns."""

    type: Literal["undo"] = "undo"
    step: int | None = Field(default=None, ge=0)
    force: bool = False
    """Also where the user changed files since the last checkpoint; a redo brings that back."""


class Redo(SessionCommand):
    """Bring back what the last undo overwrote."""

    type: Literal["redo"] = "redo"
    force: bool = False


Command = Annotated[
    SendMessage | Interrupt | Stop | Approve | Deny | Undo | Redo, Field(discriminator="type")
]
