"""What the kernels run on: this machine's CPU or card, or a card that is emulated."""

from __future__ import annotations

import os
from dataclasses import dataclass

import torch

from glm_rocm.backends import emulation
from glm_rocm.errors import TargetError
from glm_rocm.numerics import E4M3FN
from glm_rocm.ops.kernel import Kernel
from glm_rocm.target import Target, detect_target, parse_target
from glm_rocm.validate.sweep import BUDGETS, Budget

EVERYWHERE = "cpu."
"""Prefix of the torch kernels' names."""


@dataclass(frozen=True)
class Machine:
    """Where kernels run.

    Attributes:
        target: the accelerator that kernels are chosen for.
        emulate: `gfx942`, `gfx950` or `interpret`; empty: the target is here.
        device: torch's device.
        fp8: the FP8 format of its kernels.
        page: tokens of a cache page.
        budget: what it carries.
        repeat_up_to: M up to which each call is made twice.
    """

    target: Target
    emulate: str
    device: torch.device
    fp8: torch.dtype
    page: int
    budget: Budget
    repeat_up_to: int

    @property
    def name(self) -> str:
        return self.emulate or self.target.arch

    @property
    def evidence(self) -> str:
        """How its own kernels run."""
        if not self.emulate:
            return "hardware"
        return "interpreted" if self.emulate == emulation.INTERPRET else "emulated"

    def evidence_of(self, kernel: Kernel) -> str:
        """How a kernel runs: torch kernels on the CPU that is here, whatever else is emulated."""
        return "hardware" if kernel.name.startswith(EVERYWHERE) else self.evidence

    def activate(self) -> None:
        """Let the kernels run: switch the process over where a card is emulated.

        Raises:
            EngineError: this environment cannot emulate.
        """
        if self.emulate:
            emulation.check(self.emulate)
            os.environ.update(emulation.environment(self.emulate))
            emulation.activate(self.emulate)


def machine(word: str | None) -> Machine:
    """The machine of `--target`: detected where None; a CDNA card that is not here is emulated.

    Raises:
        TargetError: an unknown target, or one that is neither here nor can be emulated.
    """
    here = detect_target()
    if word is None:
        return _machine(here, "")
    if word in emulation.CARDS and word != here.arch:
        return _machine(emulation.emulated_target(word), word)
    if word in (here.vendor, here.arch, here.device):
        return _machine(here, "")
    stated = parse_target(word)
    if stated.vendor == "cpu" or stated.arch == here.arch:
        return _machine(stated, "")
    if stated.arch in emulation.CARDS:
        return _machine(stated, stated.arch)
    known = ", ".join(f"`{name}`" for name in ("cpu", *emulation.CARDS))
    raise TargetError(
        f"`{word}` is not in this machine and cannot be emulated",
        required=f"one of {known}, or the card that is here (`{here.device}`)",
        hint="glm-rocm validate --target gfx942",
    )


def _machine(target: Target, emulate: str) -> Machine:
    card = target.vendor != "cpu" and not emulate
    kind = "card" if card else "cpu"
    if emulate:
        kind = "interpreted" if emulate == emulation.INTERPRET else "emulated"
    return Machine(
        target=target,
        emulate=emulate,
        device=torch.device("cuda" if card else "cpu"),
        fp8=getattr(torch, target.fp8_dtype) if target.fp8_dtype else E4M3FN.dtype,
        page=128 if target.vendor == "cpu" else 16,
        budget=BUDGETS[kind],
        repeat_up_to={"cpu": 300, "card": 8192, "emulated": 33, "interpreted": 1}[kind],
    )
