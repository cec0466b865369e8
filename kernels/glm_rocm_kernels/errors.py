"""What a wrapper raises before anything is launched. Each message names what was found and what is required."""

from __future__ import annotations


class KernelArgumentError(ValueError):
    """An argument that the kernel cannot take.

    Args:
        argument: its name in the wrapper's signature.
        found: what it is: a shape, a dtype, a value.
        required: what it has to be.
    """

    def __init__(self, argument: str, found: str, required: str) -> None:
        self.argument = argument
        self.found = found
        self.required = required
        super().__init__(f"`{argument}` is {found}; required: {required}")


class LaunchDataError(ValueError):
    """A file of launch choices that breaks its schema; the message names the file and the entry."""


class LaunchRefusedError(RuntimeError):
    """A kernel that this architecture cannot have, or a launch choice that does not fit it.

    Args:
        kernel: the operator or the kernel function.
        arch: `gfx942`, `sm90`, ...
        reason: found and required, in one sentence.
        origin: the file and entry that the choice comes from.
    """

    def __init__(self, kernel: str, arch: str, reason: str, origin: str) -> None:
        self.kernel = kernel
        self.arch = arch
        self.reason = reason
        self.origin = origin
        super().__init__(f"`{kernel}` is not launched on {arch}: {reason} ({origin})")
