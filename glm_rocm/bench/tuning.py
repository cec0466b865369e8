"""Search the experts' launch choices on the device at hand, or by counts on an emulated one, and keep what was found.

One knob at a time is turned from the best choices so far, and a call whose result is not the reference's has no cost.
Every cost is written to the user's file at once, so a search that was cut off goes on where it ended.
"""

from __future__ import annotations

import json
import math
import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import torch

from glm_rocm.backends.tuned import kernels_launch, kernels_tuned
from glm_rocm.bench import check, ours, timing
from glm_rocm.bench.cases import Case
from glm_rocm.bench.inputs import make_inputs
from glm_rocm.bench.run import contender, one_thread, quiet
from glm_rocm.errors import ParityError, UsageError
from glm_rocm.target import Target

Choice = dict[str, int]
Choices = dict[str, Choice]
"""By kernel: `moe.gate_up`, ..."""
Measure = Callable[[], "Cost"]

KNOBS: dict[str, dict[str, tuple[int, ...]]] = {
    "moe.gate_up": {
        "BLOCK_M": (16, 32, 64, 128),
        "BLOCK_N": (16, 32, 64, 128),
        "BLOCK_K": (64, 128, 256),
        "SPLITS": (1, 2, 4),
        "num_warps": (1, 2, 4, 8),
        "num_stages": (1, 2),
    },
    "moe.down": {
        "BLOCK_N": (32, 64, 128, 256),
        "BLOCK_K": (64, 128),
        "UNROLL": (0, 1),
        "WIDE_SUM": (0, 1),
        "num_warps": (1, 2, 4, 8),
        "num_stages": (1, 2),
    },
    "moe.prepare": {"ROUTE_ROWS": (1, 2, 4, 8, 16), "num_warps": (1, 2, 4, 8, 16)},
    "moe.sum": {"BLOCK_N": (256, 512, 1024, 2048), "num_warps": (1, 2, 4)},
}
"""What is turned, and to which values. `OPERAND`, `DIRECT` and the instruction's shape are the architecture's."""
WORTH = 0.98
"""A choice replaces a better known one if it takes at most so much of its time: less is noise on a card."""
MOST_WHOLE = 64
"""Tokens of the largest batch that the emulator runs whole where it could sample."""


@dataclass(frozen=True, order=True)
class Cost:
    """Microseconds of the whole call, measured or of the model; among equals, instructions decide."""

    us: float
    instructions: int = 0

    def beats(self, other: Cost) -> bool:
        """Whether it is worth to replace the other's choice."""
        return self.us <= other.us * WORTH or (self.us <= other.us and self.instructions < other.instructions * WORTH)


@dataclass(frozen=True)
class Tried:
    """One set of choices: its cost, or why it has none."""

    kernel: str
    changed: str
    cost: Cost | None
    refused: str = ""
    remembered: bool = False


@dataclass
class Store:
    """The user's file of one architecture: what was tried, and the entries that `launch.use_tuned` takes."""

    path: Path
    arch: str
    card: str
    measured: str
    entries: list[dict[str, Any]] = field(default_factory=list)
    tried: list[dict[str, Any]] = field(default_factory=list)

    @classmethod
    def open(cls, path: Path, arch: str, card: str, measured: str) -> tuple[Store, str]:
        """The file as it is, or an empty one; and why an old one is not continued.

        Raises:
            UsageError: there is a file, and it is none of this kind.
        """
        made = cls(path, arch, card, measured)
        if not path.exists():
            return made, ""
        tuned = kernels_tuned()
        try:
            found = tuned.document(path, arch)
        except ValueError as error:
            raise UsageError(str(error), hint=f"rm {path}") from error
        if isinstance(found, tuned.Stale):
            return made, f"{path} is not read and begins anew: {found}"
        if (found["card"], found["measured"]) != (card, measured):
            return made, f"{path} is not read and begins anew: of {found['card']} by {found['measured']}"
        return replace(made, entries=found["entries"], tried=found["tried"]), ""

    def known(self, key: str) -> tuple[Cost | None, str] | None:
        """What was found of these choices before."""
        for item in self.tried:
            if item["key"] == key:
                cost = None if item["us"] is None else Cost(item["us"], item["instructions"])
                return cost, item["refused"]
        return None

    def remember(self, key: str, cost: Cost | None, refused: str) -> None:
        """Keep a cost, on disk too."""
        us, instructions = (cost.us, cost.instructions) if cost else (None, 0)
        self.tried.append({"key": key, "us": us, "instructions": instructions, "refused": refused})
        self.save()

    def keep(self, entry: dict[str, Any]) -> None:
        """Put an entry in place of the one with its address."""
        address = [entry[name] for name in ("op", "dtype", "where")]
        self.entries = [old for old in self.entries if [old[name] for name in ("op", "dtype", "where")] != address]
        self.entries.append(entry)
        self.save()

    def save(self) -> None:
        """Write the file, whole or not at all."""
        tuned = kernels_tuned()
        content = {
            "format": tuned.FORMAT,
            "arch": self.arch,
            "card": self.card,
            "measured": self.measured,
            "versions": tuned.versions(),
            "entries": self.entries,
            "tried": self.tried,
        }
        self.path.parent.mkdir(parents=True, exist_ok=True)
        fresh = self.path.with_suffix(f".{os.getpid()}")
        fresh.write_text(json.dumps(content, indent=1), encoding="utf-8")
        fresh.replace(self.path)


def bucket(tokens: int) -> tuple[int, int]:
    """The batch sizes that a choice found at `tokens` is for: up to the next power of two, from beyond the last."""
    high = 1 << (tokens - 1).bit_length()
    return high // 2 + 1, high


@dataclass(frozen=True)
class Search:
    """The choices of one case.

    Attributes:
        kernels: whose choices are searched, of `KNOBS`.
        store: what is known already and where findings go.
    """

    case: Case
    target: Target
    kernels: tuple[str, ...]
    store: Store

    @property
    def dtype(self) -> str:
        return (self.target.fp8_dtype or "float8_e4m3fn") if self.case.fp8 else "bfloat16"

    @property
    def address(self) -> dict[str, Any]:
        """Where the choices hold, as entries say it: `M` from, to."""
        case, (low, high) = self.case, bucket(self.case.tokens)
        sizes = {"E": case.experts, "N": case.rank.moe_intermediate, "H": case.hidden}
        return {"M": [low, high], **sizes, "quant": "channel_token" if case.fp8 else "none"}

    def shipped(self) -> Choices:
        """The choices without any tuning."""
        launch = kernels_launch()
        launch.use_tuned(self.target.arch, ())
        shape = self.address | {"M": self.case.tokens}
        found = {}
        for kernel in KNOBS:
            choice = launch.choose(kernel, self.target.arch, self.dtype, **shape)
            options = {name: value for name, value in choice.options.items() if name in launch.OPTIONS}
            found[kernel] = dict(choice.constants) | options
        return found

    def run(self, measure: Measure) -> Iterator[Tried]:
        """Try, keep what is better, and say each."""
        best = self.shipped()
        shipped = self._cost(best, measure, "", "as shipped")
        yield shipped
        if shipped.cost is None:
            return
        cost = shipped.cost
        for kernel in self.kernels:
            for knob, values in KNOBS[kernel].items():
                for value in values:
                    turned = best | {kernel: best[kernel] | {knob: value}}
                    if turned == best or not sensible(kernel, turned[kernel]):
                        continue
                    tried = self._cost(turned, measure, kernel, f"{knob} {value}")
                    yield tried
                    if tried.cost is not None and tried.cost.beats(cost):
                        best, cost = turned, tried.cost
        self._keep(best, f"{cost.us:.2f} us, as shipped {shipped.cost.us:.2f} us, {self.store.measured}")

    def most(self) -> int:
        """Calls at most, the shipped choices' included."""
        return 1 + sum(len(values) for kernel in self.kernels for values in KNOBS[kernel].values())

    def _keep(self, best: Choices, source: str) -> None:
        shipped = self.shipped()
        for kernel, choice in best.items():
            if choice != shipped[kernel]:
                self.store.keep(self._entry(kernel, choice, source))

    def _entry(self, kernel: str, choice: Choice, source: str = "") -> dict[str, Any]:
        return {
            "op": kernel,
            "dtype": [self.dtype],
            "where": self.address,
            "choice": choice,
            "versions": {"source": source},
        }

    def _cost(self, choices: Choices, measure: Measure, kernel: str, changed: str) -> Tried:
        """The cost of a call with these choices, from the file where it is known there."""
        key = json.dumps([self.case.describe(), choices], sort_keys=True)
        known = self.store.known(key)
        if known is not None:
            return Tried(kernel, changed, *known, remembered=True)
        launch = kernels_launch()
        entries = tuple(launch.parse_entry(self._entry(*item), "the search") for item in choices.items())
        launch.use_tuned(self.target.arch, entries)
        cost, refused = None, ""
        try:
            cost = measure()
        except Exception as error:
            if not _unfit(error):
                raise
            refused = (str(error) or type(error).__name__).splitlines()[0][:200]
        finally:
            launch.use_tuned(self.target.arch, ())
        self.store.remember(key, cost, refused)
        return Tried(kernel, changed, cost, refused)


def sensible(kernel: str, choice: Mapping[str, int]) -> bool:
    """Whether the kernel can be built so: direct tiles are one warp's, an instruction of 32 rows needs 32."""
    if choice.get("DIRECT") and choice["num_warps"] != 1:
        return False
    side = choice.get("matrix_instr_nonkdim", 16)
    if min(choice.get("BLOCK_N", side), choice.get("BLOCK_M", side)) < side and kernel != "moe.sum":
        return False
    return kernel != "moe.prepare" or choice["ROUTE_ROWS"] <= choice["TOKENS"]


def _unfit(error: Exception) -> bool:
    """What a choice's own fault looks like: it does not fit, does not compile, or computes something else."""
    from triton.compiler.errors import CompilationError
    from triton.runtime.errors import OutOfResources

    from glm_rocm_kernels.errors import LaunchRefusedError

    compiler = isinstance(error, RuntimeError) and "PassManager" in str(error)
    return compiler or isinstance(error, (LaunchRefusedError, CompilationError, OutOfResources, ParityError))


def on_emulator(case: Case, target: Target) -> Measure:
    """The model's time of a case's call, from counts."""
    inputs = make_inputs(case, getattr(torch, target.fp8_dtype or "float8_e4m3fn"))
    with quiet(), one_thread():
        want = check.reference(inputs)

    def measure() -> Cost:
        with quiet(), one_thread():
            counts = contender("ours", inputs, want, target).counts
        return Cost(counts.model_us, counts.instructions)

    return measure


def on_card(case: Case, target: Target, device: torch.device) -> Measure:
    """The median time of a case's call on the card that is here."""
    inputs = make_inputs(case, getattr(torch, target.fp8_dtype or "float8_e4m3fn"), whole=True)
    want = check.reference(inputs)
    unbounded = timing.Roofline(math.inf, math.inf)

    def measure() -> Cost:
        return Cost(timing.timed("ours", ours.on_a_card, inputs, want, device, unbounded).median_us)

    return measure


def cases_of(model: str, tp: int, tokens: Sequence[int], fp8: Sequence[bool]) -> tuple[Case, ...]:
    """The batches of one rank of a model; of those too large to emulate whole, a sample runs as in the bench."""
    found = []
    for quantised in fp8:
        for count in tokens:
            kind = "fp8" if quantised else "bf16"
            case = Case(f"moe-{kind}-m{count}", "moe", model, tp, count, fp8=quantised)
            groups = case.experts // case.spec.top_k
            sampled = count > MOST_WHOLE and count % groups == 0
            found.append(replace(case, sample=groups) if sampled else case)
    return tuple(found)
