"""The exception tree. Every message states what was found, what is required, and the command that mends it."""

from __future__ import annotations


class GlmRocmError(Exception):
    """Root of everything that glm-rocm raises on purpose.

    Args:
        found: one sentence, lower case, without a final dot: what is there, with values in backticks.
        required: what would have been right; joined to `found` by a semicolon. May be empty where `found` says it all.
        hint: a command to paste, or a sentence that names one. May be empty only where nothing can be done.
    """

    exit_code = 2

    def __init__(self, found: str, *, required: str = "", hint: str = "") -> None:
        self.found = found
        self.required = required
        self.hint = hint
        super().__init__(self.render())

    @property
    def sentence(self) -> str:
        """Found and required in one line, without the `error:` in front."""
        return f"{self.found}; {self.required}" if self.required else self.found

    def render(self) -> str:
        """The text a person sees: `error:` line, blank line, `hint:` line."""
        lines = f"error: {self.sentence}"
        return f"{lines}\n\nhint: {self.hint}" if self.hint else lines


class UsageError(GlmRocmError):
    """A flag, name or combination of flags that means nothing here."""


class TargetError(GlmRocmError):
    """The stated accelerator is unknown, or the stated one is not what the machine has."""


class CheckpointError(GlmRocmError):
    """A model that is missing, damaged, not `glm4_moe`, or at odds with its own config."""


class PlanError(GlmRocmError):
    """The model, the target and the flags cannot go together: parallelism, memory, context."""


class SelectionError(GlmRocmError):
    """No kernel, or not the one asked for, runs the problem; carries every refusal."""


class EngineError(GlmRocmError):
    """The serving engine is absent, of an unsupported version, or died."""


class ParityError(GlmRocmError):
    """A kernel's result lies outside its declared tolerance."""

    exit_code = 1
