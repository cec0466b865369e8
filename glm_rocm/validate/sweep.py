"""What the op level runs: the values of M, and how much of a shape each target carries. Data, and the cut that it asks.

Bugs of the field sat at single values of M: 1 (aiter 4032), 3 and 4 (aiter 3933), 8192 (aiter 4528).
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace

from glm_rocm.ops.attention import AttentionProblem
from glm_rocm.ops.linear import LinearProblem
from glm_rocm.ops.moe import ExpertsProblem, RouteProblem
from glm_rocm.ops.quant import QuantProblem
from glm_rocm.plan.problems import AnyProblem

SMALL = tuple(range(1, 18))
LARGE = tuple(m for power in range(5, 13) for m in (2**power - 1, 2**power, 2**power + 1))
FULL = (*SMALL, *LARGE, 8191, 8192)
"""1 to 17, powers of two, those plus and minus one, 8192."""
QUICK = (1, 3, 4, 17, 33)
"""One of each kind: alone, the odd ones, past a tile, past two."""
UNIT = 128
"""Width of a quantisation block; a cut keeps a width's remainder by it, where kernels go wrong."""


@dataclass(frozen=True)
class Budget:
    """What a target carries.

    Attributes:
        flops: of one case at most; beyond it a value of M is left out, and the report says so.
        rows: M at most, for ops that do next to no arithmetic.
        width: hidden sizes and feature counts are cut to about this; 0: as they are.
        context: tokens of the longest sequence.
    """

    flops: float
    rows: int
    width: int
    context: int


BUDGETS = {
    "cpu": Budget(flops=3e10, rows=8192, width=0, context=4096),
    "card": Budget(flops=1e14, rows=8192, width=0, context=131072),
    "emulated": Budget(flops=4e8, rows=1025, width=256, context=1030),
    "interpreted": Budget(flops=2e7, rows=24, width=192, context=130),
}


def sizes(problem: AnyProblem, budget: Budget, *, quick: bool) -> tuple[int, ...]:
    """The values of M for a problem on a target."""
    wanted = QUICK if quick else FULL
    return tuple(m for m in wanted if m <= budget.rows and flops(problem, m) <= budget.flops)


def flops(problem: AnyProblem, m: int) -> float:
    """Multiplications and additions of a call with M tokens, those of attention with the sweep's contexts."""
    match problem:
        case ExpertsProblem():
            return 6.0 * m * problem.top_k * problem.hidden * problem.intermediate
        case LinearProblem():
            return 2.0 * m * problem.in_features * problem.out_features
        case AttentionProblem():
            return 4.0 * m * problem.heads * problem.head_dim * contexts(m)
        case RouteProblem():
            return 10.0 * m * problem.experts
        case _:
            return 0.0


def contexts(m: int) -> int:
    """Tokens that each of M decoding sequences has at most: long where there are few."""
    return max(9, min(200, 4096 // m))


def cut(problem: AnyProblem, budget: Budget) -> tuple[AnyProblem, str]:
    """The problem with its widths cut to what the target carries, and the cut in words (empty: none).

    Heads, head size, experts, top-k and the experts' columns stay as they are: they decide how kernels tile.
    """
    small: AnyProblem
    match problem:
        case ExpertsProblem(hidden=hidden):
            small = replace(problem, hidden=narrowed(hidden, budget.width))
        case LinearProblem(in_features=inputs, out_features=outputs):
            small = replace(
                problem, in_features=narrowed(inputs, budget.width), out_features=narrowed(outputs, budget.width)
            )
        case QuantProblem(width=width):
            small = replace(problem, width=narrowed(width, budget.width))
        case _:
            return problem, ""
    changed = [
        f"{name} {value} -> {getattr(small, name)}"
        for name, value in vars(problem).items()
        if value != getattr(small, name)
    ]
    return small, ", ".join(changed)


def narrowed(width: int, limit: int) -> int:
    """`width`, or where it exceeds `limit`, `limit` plus the remainder of `width` by a block."""
    return width if limit == 0 or width <= limit else limit + width % UNIT


@dataclass(frozen=True)
class Stress:
    """A kind of input beside the plain sweep, at a few values of M."""

    name: str
    sizes: tuple[int, ...]


STRESSES: dict[str, tuple[Stress, ...]] = {
    "norm_rope": (Stress("padding", (5,)), Stress("far positions", (3,))),
    "attention": (
        Stress("verify", (4, 12)),
        Stress("prefill", (33,)),
        Stress("mixed", (23,)),
        Stress("long", (1,)),
        Stress("padding", (5,)),
    ),
    "moe.route": (
        Stress("bias near 12", (9,)),
        Stress("tiny scores", (9,)),
        Stress("negative bias", (9,)),
        Stress("groups", (9,)),
        Stress("ties", (4,)),
    ),
    "moe.experts": (
        Stress("padding", (5,)),
        Stress("expert map", (9,)),
        Stress("uneven channels", (1, 19)),
        Stress("one expert", (33,)),
        Stress("outliers", (7,)),
    ),
    "linear": (
        Stress("bias", (5,)),
        Stress("uneven channels", (1, 19)),
        Stress("padding", (5,)),
        Stress("outliers", (7,)),
    ),
    "quant": (Stress("padding", (5,)), Stress("outliers", (7,))),
}


def runs(problem: AnyProblem, budget: Budget, *, quick: bool) -> Iterator[tuple[str, int]]:
    """(stress, M) of every case of a problem, the plain sweep first."""
    for m in sizes(problem, budget, quick=quick):
        yield "plain", m
    for stress in STRESSES[problem.op]:
        for m in stress.sizes:
            if m <= budget.rows:
                yield stress.name, m
