"""The exception tree. Every message says what was found, what is required, and what to do about it."""

from __future__ import annotations

from dataclasses import dataclass


class EmulatorError(Exception):
    """Root of everything that the emulator raises on purpose.

    Args:
        found: one sentence, lower case, without a final dot: what is there, with values in backticks.
        required: what would have been right; may be empty where `found` says it all.
        hint: what to do; may be empty where nothing can be done.
    """

    def __init__(self, found: str, *, required: str = "", hint: str = "") -> None:
        self.found, self.required, self.hint = found, required, hint
        super().__init__(self.render())

    def render(self) -> str:
        """`error:` line, blank line, `hint:` line."""
        sentence = f"{self.found}; {self.required}" if self.required else self.found
        return f"error: {sentence}\n\nhint: {self.hint}" if self.hint else f"error: {sentence}"


class BuildError(EmulatorError):
    """The C core cannot be compiled or loaded here."""


class CodeObjectError(EmulatorError):
    """Not an AMDGPU code object, a damaged one, one of another architecture, or no kernel of that name in it."""


class LaunchError(EmulatorError):
    """Arguments, grid or resources that the kernel cannot be launched with."""


class UnsupportedInstruction(EmulatorError):
    """An operation, operand form, modifier or encoding bit that the emulator does not have. It never guesses.

    Args:
        mnemonic: of the instruction.
        pc: byte offset in the text section.
        kernel: its name; may be empty.
        reason: what of it is not understood.
    """

    def __init__(self, mnemonic: str, pc: int, kernel: str, reason: str) -> None:
        self.mnemonic, self.pc, self.kernel, self.reason = mnemonic, pc, kernel, reason
        of = f" of `{kernel}`" if kernel else ""
        super().__init__(f"`{mnemonic}` at pc {pc:#x}{of}: {reason}", required="a form that the emulator has")


@dataclass(frozen=True)
class Place:
    """Where in a launch something happened."""

    kernel: str
    mnemonic: str
    pc: int
    """Byte offset in the text section."""
    source: tuple[str, int] | None
    """File and line, where the code object has them."""
    workgroup: tuple[int, int, int]
    wave: int
    """Number in its workgroup."""
    lane: int

    def __str__(self) -> str:
        where = f"{self.kernel}: {self.mnemonic} at pc {self.pc:#x}"
        if self.source:
            where += f" ({self.source[0]}:{self.source[1]})"
        return f"{where}, workgroup {self.workgroup}, wave {self.wave}, lane {self.lane}"


class DeviceFault(EmulatorError):
    """What a kernel did wrong, or what would have hung or crashed the card.

    Args:
        found: see `EmulatorError`.
        place: where it happened.
    """

    def __init__(self, found: str, place: Place, *, required: str = "", hint: str = "") -> None:
        self.place = place
        super().__init__(found, required=required, hint=hint)

    def render(self) -> str:
        """The place stands in a line of its own."""
        sentence, *hint = super().render().split("\n\nhint: ")
        return "\n\nhint: ".join([f"{sentence}\n  in {self.place}", *hint])


class OutOfBoundsError(DeviceFault):
    """An access to memory that no argument holds, or to an LDS or scratch offset beyond the allocation.

    Attributes:
        address: of the access; an offset for LDS and scratch.
        tensor: name of the nearest argument; None for LDS, scratch, or when nothing is near.
        offset: in bytes from the start of that tensor.
    """

    address = 0
    tensor: str | None = None
    offset = 0


class MisalignedError(DeviceFault):
    """An atomic that is not aligned to its size: a memory violation on a card."""


class UndefinedReadError(DeviceFault):
    """Memory or LDS that was never written is read (with `check_undefined`)."""


class RaceError(DeviceFault):
    """Two waves touch one piece of LDS, one of them writing, with no barrier between (with `check_races`)."""


class UseBeforeWaitError(DeviceFault):
    """A load's result is used before an s_waitcnt for it (with `check_waits`)."""


class DeadlockError(DeviceFault):
    """The launch does not end, or not within its limit of instructions."""


class TrapError(DeviceFault):
    """The kernel executed s_trap: a device-side assertion."""
