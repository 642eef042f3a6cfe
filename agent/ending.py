"""One small exception for each way a run can end; whoever sees that it is over raises it."""

from __future__ import annotations

import errno
from typing import ClassVar

from agent.events import EXIT_CODES, End, Outcome
from tools.plain_text import plain

_FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)


class Ending(Exception):
    """`reason` is one sentence for the user, in plain text: it may quote what a command of the repository
    printed. `verified` as in the `end` event."""

    outcome: ClassVar[Outcome]

    def __init__(self, reason: str = "", *, verified: bool | None = None) -> None:
        self.reason = plain(reason)
        super().__init__(self.reason)
        self.verified = verified

    @property
    def exit_code(self) -> int:
        return EXIT_CODES[self.outcome]

    def event(self) -> End:
        """The bare `end`, for a run that ends before it has a session."""
        return End(outcome=self.outcome, reason=self.reason, verified=self.verified, exit_code=self.exit_code)


class Done(Ending):
    outcome = "done"


class Unsolved(Ending):
    outcome = "unsolved"


class LimitReached(Ending):
    """Steps, time or context are used up."""

    outcome = "limit"


class WrongUsage(Ending):
    outcome = "usage"


class EnvironmentProblem(Ending):
    """No model, no sandbox, no repository, no such command, or a failure that the sandbox explains."""

    outcome = "environment"


def no_space(error: BaseException | None) -> EnvironmentProblem | None:
    """For an error that says that a disk or a quota is full: that is nobody's mistake. Else None."""
    if not isinstance(error, OSError) or error.errno not in _FULL:
        return None
    what = error.filename or "A file or standard output"
    return EnvironmentProblem(f"{what} cannot be written ({error.strerror}); make room and try again.")


class Refused(Ending):
    """Ended unverified, and something that was denied stood in the way."""

    outcome = "refused"


class Fault(Ending):
    """A mistake of Ostro's own."""

    outcome = "fault"


class Interrupted(Ending):
    outcome = "interrupted"

    def __init__(
        self, reason: str = "Interrupted.", *, terminated: bool = False, verified: bool | None = None
    ) -> None:
        super().__init__("Terminated by a signal." if terminated else reason, verified=verified)
        self.terminated = terminated

    @property
    def exit_code(self) -> int:
        return 143 if self.terminated else EXIT_CODES["interrupted"]
