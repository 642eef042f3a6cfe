"""What a tool is: arguments in, one result out, everything it touches through the sandbox."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import cached_property
from importlib.resources import files
from typing import Any, ClassVar, Generic, TypeVar

from pydantic import BaseModel, ConfigDict

from sandbox import SandboxError, Workspace
from tools.outputs import OutputStore


class Arguments(BaseModel):
    """Base of every tool's arguments: an unknown field is the model's mistake, and is told so."""

    model_config = ConfigDict(extra="forbid", frozen=True)


class ToolResult(BaseModel):
    ok: bool
    text: str
    """What the model sees."""
    data: dict[str, Any] = {}
    """The same for programs: faces, journal, the agent's own decisions."""


@dataclass
class ToolContext:
    workspace: Workspace
    outputs: OutputStore = field(default_factory=OutputStore)
    on_output: Callable[[str], None] | None = None
    """Called with plain text as a command prints it."""
    read_only: bool = False
    """Tools that change something answer with a refusal."""
    test_command: list[str] | None = None
    """What the `test` tool runs where it is given no command."""
    test_cwd: str = "."
    """Where it runs that, relative to the workspace."""
    budget: int = 10_000
    """Characters that one result may show; the rest is kept for `output`."""

    def relative(self, path: str) -> str:
        """`path` relative to the workspace, where it is an absolute one below it; else as it is.

        Tracebacks and compilers print absolute paths, and models copy them.
        """
        return path.removeprefix(f"{self.workspace.root}/") if path != str(self.workspace.root) else "."


A = TypeVar("A", bound=Arguments)


class Tool(ABC, Generic[A]):
    name: ClassVar[str]
    Arguments: ClassVar[type[Arguments]]
    mutates: ClassVar[bool]

    @cached_property
    def description(self) -> str:
        """The prose that the model reads, from `<name>.md` beside the code."""
        return files("tools").joinpath(f"{self.name}.md").read_text(encoding="utf-8").strip()

    def parameters(self) -> dict[str, Any]:
        """JSON schema of the arguments: one flat object, without titles and definitions."""
        schema = self.Arguments.model_json_schema()
        properties = {name: _flat(value) for name, value in schema.get("properties", {}).items()}
        return {
            "type": "object",
            "properties": properties,
            "required": schema.get("required", []),
            "additionalProperties": False,
        }

    async def run(self, args: A, ctx: ToolContext) -> ToolResult:
        """Does it, unless the context forbids it. A refusal of the sandbox is a result, not an error."""
        if self.mutates and ctx.read_only:
            return denied(self.name)
        try:
            return await self.act(args, ctx)
        except SandboxError as problem:
            return failure(str(problem))

    @abstractmethod
    async def act(self, args: A, ctx: ToolContext) -> ToolResult:
        """The tool's own work."""


def failure(sentence: str, **data: Any) -> ToolResult:
    return ToolResult(ok=False, text=sentence, data=data)


def denied(name: str) -> ToolResult:
    return failure(
        f"Denied: `{name}` may not be used, because this session is read-only. "
        "Nothing was changed. Go on without it.",
        denied=True,
    )


def _flat(schema: dict[str, Any]) -> dict[str, Any]:
    """A property without noise; `X | None` is X that may be left out."""
    choices = [choice for choice in schema.get("anyOf", []) if choice.get("type") != "null"]
    if len(choices) == 1:
        schema = {**choices[0], **{key: value for key, value in schema.items() if key != "anyOf"}}
    unwanted = {"title"} | ({"default"} if schema.get("default") is None else set())
    return {key: value for key, value in schema.items() if key not in unwanted}
