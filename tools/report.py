"""What a test run said: which tests fail, why the first one does, and where in the repository."""

from __future__ import annotations

from pydantic import BaseModel, ConfigDict


class Frame(BaseModel):
    """One place of a traceback, in a file of the repository."""

    model_config = ConfigDict(frozen=True)

    file: str
    """Relative to the repository's root, with forward slashes."""
    line: int
    function: str
    """"<module>" at module level; "" where the output does not tell."""

    def __str__(self) -> str:
        return f"{self.file}:{self.line}" + (f" in {self.function}" if self.function else "")


class Failure(BaseModel):
    """One failing test, as far as the output explains it."""

    model_config = ConfigDict(frozen=True)

    name: str
    """As the runner heads it: `TestBox.test_half[1]`, `ERROR collecting tests/test_a.py`."""
    error: str
    """The exception and its message, or the assertion's explanation; some lines."""
    frames: tuple[Frame, ...]
    """Outermost first; the last one is nearest to the error."""


class TestReport(BaseModel):
    """Every count is None where the output does not tell."""

    __test__ = False  # pytest would take the class for a test otherwise
    model_config = ConfigDict(frozen=True)

    runner: str = ""
    """"pytest", "unittest", or "" for anything else."""
    failing: list[str] = []
    """Ids as the runner itself takes them, failed ones and errors, in the order of the report."""
    passed: int | None = None
    failed: int | None = None
    errors: int | None = None
    skipped: int | None = None
    failures: list[Failure] = []
    """In the order of the output; not every id of `failing` need have one."""
    first_error: str = ""
    frames: list[Frame] = []
    """Those of the first error."""
    collected_none: bool = False
    """The runner found no test to run."""
    stopped: str = ""
    """Why the run ended before its end, in the runner's words; "" where it did not."""

    def counts(self) -> str:
        """`2 failed, 31 passed`; "" where nothing was counted."""
        named = (
            (self.failed, "failed"),
            (self.errors, "errors"),
            (self.passed, "passed"),
            (self.skipped, "skipped"),
        )
        shown = [f"{count} {name}" for count, name in named if count]
        if shown:
            return ", ".join(shown)
        return "no tests were run" if self.collected_none else ""
