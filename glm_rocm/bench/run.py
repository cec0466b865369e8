"""Run cases in the emulator: make the inputs, hold each contender to the reference, count what it launched."""

from __future__ import annotations

import logging
import time
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from typing import Any

import torch

from glm_rocm.bench import check, ours, peers, sampling, stand_in
from glm_rocm.bench.cases import Case
from glm_rocm.bench.count import Counts, count
from glm_rocm.bench.inputs import Inputs, make_inputs
from glm_rocm.bench.unwritten import Poisoned
from glm_rocm.target import Target


@dataclass(frozen=True)
class Counted:
    """One contender in one case.

    Attributes:
        who: `ours` or `vllm`.
        further_launches: that are no Triton kernels and so not in `counts`.
        calc_diff: of the worst token, against the reference.
        cpu_seconds: that the emulator took, compilation included.
    """

    who: str
    counts: Counts
    further_launches: int
    calc_diff: float
    cpu_seconds: float

    @property
    def launches(self) -> int:
        return self.counts.launches + self.further_launches


@dataclass(frozen=True)
class Row:
    """A case with all its contenders, ours first."""

    case: Case
    arch: str
    contenders: tuple[Counted, ...]

    @property
    def ours(self) -> Counted:
        return self.contenders[0]

    @property
    def peer(self) -> Counted | None:
        return self.contenders[1] if len(self.contenders) > 1 else None

    def to_json(self) -> dict[str, Any]:
        """As `--json` shows it."""
        return {
            "case": self.case.name,
            "op": self.case.op,
            "what": self.case.describe(),
            "arch": self.arch,
            "sampled": f"1 of {self.case.sample}" if self.case.sample > 1 else "no, all ran",
            "contenders": [asdict(contender) for contender in self.contenders],
        }


def emulate(cases: Sequence[Case], target: Target, *, against: bool) -> Iterator[Row]:
    """Count each case on the machine code of `target`'s architecture.

    Args:
        target: gfx942 or gfx950.
        against: also run vLLM's kernels.

    Raises:
        ParityError: a contender's result is not the reference's.
        EngineError: `against` without a vLLM that can be told which card it is on.
    """
    fp8 = getattr(torch, target.fp8_dtype or "float8_e4m3fn")
    with quiet(), one_thread():
        if against:
            stand_in.install(target)
        for case in cases:
            inputs = make_inputs(case, fp8)
            want = check.reference(inputs)
            contenders = [contender("ours", inputs, want, target)]
            if against and peers.has(case.op):
                contenders.append(contender("vllm", inputs, want, target))
            yield Row(case, target.arch, tuple(contenders))


@contextmanager
def quiet() -> Iterator[None]:
    """Neither vLLM's advice on tuning nor Triton's on its next default: vLLM's kernels run with the installed one's."""
    logging.disable(logging.WARNING)
    try:
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", "TRITON_DEFAULT_FP_FUSION", UserWarning)
            yield
    finally:
        logging.disable(logging.NOTSET)


@contextmanager
def one_thread() -> Iterator[None]:
    """The reference's products are small: a second thread costs more than it gives."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(threads)


def contender(who: str, inputs: Inputs, want: tuple[torch.Tensor, ...], target: Target) -> Counted:
    """Run one side of a case, hold it to the reference's results and count it.

    Raises:
        ParityError: its result is not the reference's.
    """
    case = inputs.case
    side: Any = peers if who == "vllm" else ours
    call = peers.run if who == "vllm" else ours.on_a_card
    began = time.process_time()
    choosers = side.choosers(inputs, target) if case.sample > 1 else {}
    with sampling.device(target.arch, choosers) as gpu, Poisoned():
        found = call(inputs)
    seconds = time.process_time() - began
    comparison = check.hold(found, want, inputs, who)
    records = gpu.launches[: ours.LAUNCHES.get(case.op)] if who == "ours" else gpu.launches
    counts = count(
        records,
        target,
        useful_flops=inputs.useful_flops,
        ideal_bytes=inputs.ideal_bytes,
        streamed=side.STREAMED.get(case.op, frozenset()),
        sample=case.sample,
    )
    further = peers.further_launches(inputs) if who == "vllm" else 0
    return Counted(who, counts, further, comparison.calc_diff, seconds)
