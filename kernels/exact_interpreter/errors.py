"""What the mended interpreter raises."""

from __future__ import annotations


class InterpreterSetupError(RuntimeError):
    """The interpreter cannot be mended here: what was found, what is required, and how to come by it."""

    def __init__(self, found: str, required: str, hint: str) -> None:
        self.found = found
        self.required = required
        self.hint = hint
        super().__init__(f"{found}; required: {required} (`{hint}`)")


class OutOfBoundsError(IndexError):
    """A kernel touched memory outside the storage of the argument that its pointer comes from.

    Args:
        access: `load`, `store` or `atomic`.
        argument: the kernel's argument; several where they share one storage.
        offset: the first bad byte, from the storage's start; negative before it.
        size: bytes of the storage.
        program: the program's index in the grid.
        lanes: how many elements of the access are out of bounds.
        first: the index of the first of them in the accessed block.
    """

    def __init__(
        self,
        access: str,
        argument: str,
        *,
        offset: int,
        size: int,
        program: tuple[int, ...],
        lanes: int,
        first: tuple[int, ...],
    ) -> None:
        self.access = access
        self.argument = argument
        self.offset = offset
        self.size = size
        self.program = program
        self.lanes = lanes
        self.first = first
        super().__init__(
            f"{access} out of bounds of `{argument}`: byte {offset} of {size}, program {program}, "
            f"{lanes} lanes, the first at {first}"
        )
