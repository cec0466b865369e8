"""Time on the device that is really here: a card by its own events, a CPU by its clock.

A call is timed alone, with cold caches: the inputs exist several times and are taken by turns, and between two calls a
buffer larger than the last-level cache is written. On a card the call is captured in a graph once for each copy of its
inputs, so that the host's own time is not in it.

The roofline is measured on the same device in the same run: the rate of a large copy and that of a large matrix
product, the better of bf16 and fp32.
"""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import torch
from torch import Tensor

from glm_rocm.bench import check, ours, peers
from glm_rocm.bench.cases import Case
from glm_rocm.bench.inputs import Inputs, make_inputs
from glm_rocm.bench.run import quiet
from glm_rocm.errors import EngineError
from glm_rocm.target import Target

COPIES = 3
CARD_CALLS, CPU_CALLS = 100, 9
COPY_BYTES = {"cpu": 1 << 26, "cuda": 1 << 30}
GEMM = {"cpu": 512, "cuda": 8192}
FLUSH_BYTES = {"cpu": 1 << 26, "cuda": 1 << 29}
"""Written between two calls. On a card: twice the last-level cache of an MI300X (256 MB), the largest there is."""


@dataclass(frozen=True)
class Roofline:
    """Measured rates of this device."""

    copy_bytes_per_s: float
    gemm_flops: float

    def seconds(self, inputs: Inputs) -> float:
        """The least time in which a case's bytes can move and its products be made."""
        return max(inputs.ideal_bytes / self.copy_bytes_per_s, inputs.useful_flops / self.gemm_flops)


@dataclass(frozen=True)
class Timed:
    """One contender in one case, in microseconds.

    Attributes:
        share: of the measured roofline's time in the median; 0 for a case without bytes or products to hold it to.
    """

    who: str
    median_us: float
    p10_us: float
    p90_us: float
    share: float
    calc_diff: float


@dataclass(frozen=True)
class TimedRow:
    """A case with all its contenders, ours first."""

    case: Case
    device: str
    contenders: tuple[Timed, ...]

    def to_json(self) -> dict[str, Any]:
        """As `--json` shows it."""
        named = {"case": self.case.name, "op": self.case.op, "what": self.case.describe(), "device": self.device}
        return named | {"contenders": [asdict(contender) for contender in self.contenders]}


def require_device(kind: str) -> torch.device:
    """The device of `cuda`, `rocm` or `cpu`.

    Raises:
        EngineError: torch sees no such card.
    """
    if kind == "cpu":
        return torch.device("cpu")
    build = f"ROCm {torch.version.hip}" if torch.version.hip else f"CUDA {torch.version.cuda}"
    build = build if torch.version.hip or torch.version.cuda else "the CPU alone"
    if not torch.cuda.is_available() or (torch.version.hip is not None) != (kind == "rocm"):
        raise EngineError(
            f"`--target {kind}`, but torch {torch.__version__}, built for {build}, sees no such card",
            required=f"a {kind} card and a torch built for it; time cannot be emulated, counts can",
            hint="glm-rocm bench --target gfx942",
        )
    return torch.device("cuda", 0)


def measure(cases: Sequence[Case], target: Target, device: torch.device, *, against: bool) -> Iterator[TimedRow]:
    """Time each case on `device`.

    Args:
        target: what the device is; its FP8 format is the inputs'.
        against: also time vLLM's kernels where it has them for the op.

    Raises:
        ParityError: a contender's result is not the reference's.
    """
    fp8 = getattr(torch, target.fp8_dtype or "float8_e4m3fn")
    with quiet():
        roofline = measure_roofline(device)
        for case in cases:
            inputs = make_inputs(case, fp8, whole=True)
            want = check.reference(inputs)
            calls = {"ours": ours.on_a_card} if device.type == "cuda" else {"torch": ours.on_a_cpu}
            if against and device.type == "cuda" and peers.has(case.op):
                calls["vllm"] = peers.run
            contenders = (timed(who, call, inputs, want, device, roofline) for who, call in calls.items())
            yield TimedRow(case, target.name, tuple(contenders))


def measure_roofline(device: torch.device) -> Roofline:
    """The rates of a large copy (read and written bytes) and of a large bf16 product."""
    source = torch.zeros(COPY_BYTES[device.type], dtype=torch.uint8, device=device)
    into = torch.empty_like(source)
    size = GEMM[device.type]
    copied = statistics.median(clock([lambda: into.copy_(source)], device))
    multiplied = []
    for dtype in (torch.bfloat16, torch.float32):
        a, b = torch.randn(2, size, size, device=device).to(dtype)
        multiplied.append(statistics.median(clock([_product(a, b)], device)))
    return Roofline(2 * source.numel() / copied, 2 * size**3 / min(multiplied))


def clock(calls: Sequence[Callable[[], Any]], device: torch.device) -> list[float]:
    """Seconds of each call, the copies taken by turns; the first round is not counted."""
    on_card = device.type == "cuda"
    rounds = (CARD_CALLS if on_card else CPU_CALLS) // len(calls) + 1
    turns = [call for _ in range(rounds) for call in calls]
    flush = torch.empty(FLUSH_BYTES[device.type], dtype=torch.uint8, device=device)
    taken = _card_seconds(turns, flush) if on_card else _cpu_seconds(turns, flush)
    return taken[len(calls) :]


def quantiles(seconds: Sequence[float]) -> tuple[float, float, float]:
    """Median, 10th and 90th percentile."""
    ordered = sorted(seconds)
    last = len(ordered) - 1
    return statistics.median(ordered), ordered[round(0.1 * last)], ordered[round(0.9 * last)]


def timed(
    who: str,
    call: Callable[[Inputs], tuple[Tensor, ...]],
    inputs: Inputs,
    want: tuple[Tensor, ...],
    device: torch.device,
    roofline: Roofline,
) -> Timed:
    """Hold a call to the reference's results, then time it.

    Raises:
        ParityError: its result is not the reference's.
    """
    copies = [inputs.to(device) for _ in range(COPIES)]
    comparison = check.hold(call(copies[0]), want, inputs, who)
    calls = [_captured(call, copy) if device.type == "cuda" else _bound(call, copy) for copy in copies]
    median, p10, p90 = (1e6 * value for value in quantiles(clock(calls, device)))
    least = 1e6 * roofline.seconds(inputs)
    return Timed(who, median, p10, p90, least / median, comparison.calc_diff)


def _bound(call: Callable[[Inputs], Any], inputs: Inputs) -> Callable[[], Any]:
    return lambda: call(inputs)


def _product(a: Tensor, b: Tensor) -> Callable[[], Tensor]:
    return lambda: a @ b


def _captured(call: Callable[[Inputs], Any], inputs: Inputs) -> Callable[[], Any]:
    """The call as a CUDA or HIP graph."""
    stream = torch.cuda.Stream()  # type: ignore[no-untyped-call]
    stream.wait_stream(torch.cuda.current_stream())
    with torch.cuda.stream(stream):
        call(inputs)  # compiles, so that the capture only launches
    torch.cuda.current_stream().wait_stream(stream)
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        call(inputs)
    return graph.replay


def _cpu_seconds(calls: Sequence[Callable[[], Any]], flush: Tensor) -> list[float]:
    taken = []
    for call in calls:
        flush.fill_(1)
        began = time.perf_counter()
        call()
        taken.append(time.perf_counter() - began)
    return taken


def _card_seconds(calls: Sequence[Callable[[], Any]], flush: Tensor) -> list[float]:
    events = []
    for call in calls:
        flush.fill_(1)
        begin, end = (torch.cuda.Event(enable_timing=True) for _ in range(2))  # type: ignore[no-untyped-call]
        begin.record()
        call()
        end.record()
        events.append((begin, end))
    torch.cuda.synchronize(flush.device)
    return [begin.elapsed_time(end) / 1e3 for begin, end in events]
