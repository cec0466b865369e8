"""The question that a selection asks of each candidate: does it really run here?"""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from glm_rocm.ops.kernel import Kernel, Problem, Refused
from glm_rocm.probe import cache, child
from glm_rocm.probe.outcome import DEMOTES, Outcome
from glm_rocm.probe.run import run
from glm_rocm.target import Target

LIMIT_S = 600.0
"""Per kernel: FlashInfer compiles an attention module in about two minutes on two cores (0.6.13, nvcc 13.0)."""
EVERYWHERE = "cpu."
"""The torch kernels need no probe: they are what remains, and run wherever torch does."""


@dataclass
class Prober:
    """Tries kernels on the machine that it is made for, each once.

    Attributes:
        target: the card, which must be here.
        limit_s: seconds for one kernel.
        folder: where outcomes are remembered; None: nowhere.
        environment: of the processes.
        tell: called before a kernel is tried, with its name; a first compilation takes minutes.
    """

    target: Target
    limit_s: float = LIMIT_S
    folder: Path | None = field(default_factory=cache.default_folder)
    environment: Mapping[str, str] = field(default_factory=lambda: dict(os.environ))
    tell: Callable[[str], None] = lambda name: None
    outcomes: dict[str, tuple[Outcome, str]] = field(default_factory=dict)

    def __call__(self, kernel: Kernel, problem: Problem) -> Refused | None:
        """None where the kernel ran as the reference; else why it is passed over.

        One problem of an op speaks for its others: they differ in widths.

        Raises:
            ParityError: it ran and was wrong.
            EngineError: it was called wrongly, or there was no memory.
        """
        if kernel.name.startswith(EVERYWHERE):
            return None
        if kernel.name not in self.outcomes:
            self.outcomes[kernel.name] = self._outcome(kernel, problem)
        outcome, remembered = self.outcomes[kernel.name]
        if error := outcome.stop(kernel, problem):
            raise error
        return Refused(kernel.name, (outcome.reason(remembered),)) if outcome.state in DEMOTES else None

    def _outcome(self, kernel: Kernel, problem: Problem) -> tuple[Outcome, str]:
        """The outcome, and the file that it was read from, empty where it was found out now."""
        device = "cpu" if self.target.vendor == "cpu" else "cuda"
        request = child.request_of(kernel, problem, device, self.target.fp8_dtype or "float8_e4m3fn")
        name = cache.address(kernel, request, self.target, self.environment)
        known = cache.read(self.folder, name) if self.folder else None
        if known is not None:
            return known, str(self.folder / f"{name}.json") if self.folder else ""
        self.tell(kernel.name)
        found = run(request, limit_s=self.limit_s, environment=self.environment)
        if self.folder:
            cache.write(self.folder, name, found)
        return found, ""
