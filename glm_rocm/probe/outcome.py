"""What a probe found, and what follows from it: the kernel runs, is passed over, or the launch stops."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Literal

from glm_rocm.errors import EngineError, GlmRocmError, ParityError
from glm_rocm.ops.kernel import Kernel, Problem, Reason

State = Literal["ran", "failed", "crashed", "hung", "parity", "memory", "argument"]
"""`ran`: the reference's results. `failed`, `crashed`, `hung`: the kernel does not work here. `parity`, `memory`,
`argument`: it works and something is wrong that another kernel would only hide."""

DEMOTES: tuple[State, ...] = ("failed", "crashed", "hung")

CURES: tuple[tuple[str, str], ...] = (
    (r"nvcc", "install the CUDA toolkit and set CUDA_HOME to it"),
    (r"ninja", "pip install ninja"),
    (r"Read-only file system|Permission denied", "set FLASHINFER_WORKSPACE_BASE to a folder that can be written"),
    (r"mslk", "pip install mslk-cuda; what PyPI calls `mslk` is empty"),
    (r"No module named '(?P<module>\w+)", "install `{module}`"),
    (r"no kernel image|compiled part did not load|undefined symbol", "install a build for this card and this PyTorch"),
)
"""By what the error says: the command or step that mends it."""


@dataclass(frozen=True)
class Outcome:
    """What became of one probe.

    Attributes:
        state: see `State`.
        error: the real error in one line; empty where it ran.
        detail: the last lines that the process wrote to stderr.
        seconds: how long it took.
    """

    state: State
    error: str = ""
    detail: str = ""
    seconds: float = 0.0

    def reason(self, remembered: str = "") -> Reason:
        """Why the kernel is passed over. `remembered` is the file that this was read from, or empty."""
        text = f"{self.error}\n{self.detail}"
        found = (re.search(pattern, text) and (pattern, cure) for pattern, cure in CURES)
        pattern, cure = next((pair for pair in found if pair), ("", ""))
        match = re.search(pattern, text) if pattern else None
        cure = cure.format(**match.groupdict()) if match else ""
        again = f"delete `{remembered}` to try again" if remembered else ""
        words = {"failed": "it failed", "crashed": "it crashed", "hung": "it hung"}[self.state]
        return Reason(
            f"tried here, {words}: {self.error}", "the reference's result", "; ".join(filter(None, (cure, again)))
        )

    def stop(self, kernel: Kernel, problem: Problem) -> GlmRocmError | None:
        """The error that ends the launch; None where the kernel runs or is passed over."""
        if self.state == "parity":
            return ParityError(
                f"kernel `{kernel.name}` gives other results than the reference for {problem.describe()}: {self.error}",
                required="its declared tolerance; a wrong kernel is never passed over in silence",
                hint=f"choose another with `--kernel {problem.op}=NAME`, and report this one",
            )
        if self.state == "memory":
            return EngineError(
                f"`{kernel.name}` found no memory for {problem.describe()}: {self.error}",
                required="a device and a host with memory to spare",
                hint="see what holds the memory, for example with `nvidia-smi` or `rocm-smi`",
            )
        if self.state == "argument":
            return EngineError(
                f"`{kernel.name}` was called wrongly for {problem.describe()}: {self.error}",
                required="the version of its library that this glm-rocm was made for",
                hint=f"choose another with `--kernel {problem.op}=NAME`, and report this one",
            )
        return None
