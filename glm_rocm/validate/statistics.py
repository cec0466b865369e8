"""Paired comparison of two models on the same questions, and the bins of a histogram over decades."""

from __future__ import annotations

import math
from bisect import bisect_right
from collections.abc import Iterable

BIN_EDGES = tuple(10.0 ** (half / 2) for half in range(-18, 3))
"""1e-9 to 10 in half decades; what lies beyond is counted in the bin next to it."""


def binned(values: Iterable[float]) -> tuple[int, ...]:
    """How many values lie between each two of `BIN_EDGES`; NaN is counted with the largest."""
    counts = [0] * (len(BIN_EDGES) - 1)
    for value in values:
        at = len(counts) if math.isnan(value) else bisect_right(BIN_EDGES, value)
        counts[min(max(at - 1, 0), len(counts) - 1)] += 1
    return tuple(counts)


def mcnemar(lost: int, gained: int) -> float:
    """Two-sided exact p of McNemar's test: `lost` questions only the first model answers, `gained` only the second."""
    changed = lost + gained
    if changed == 0:
        return 1.0
    tail = sum(math.comb(changed, count) for count in range(min(lost, gained) + 1)) / 2.0**changed
    return min(1.0, 2 * tail)


def paired_interval(lost: int, gained: int, count: int, z: float = 1.96) -> tuple[float, float]:
    """95 % interval of the difference of two rates on the same questions, second minus first (Bonett and Price, 2012,
    adjusted Wald interval: one changed question of either kind is added, so that 0 changes are no certainty)."""
    first, second = (lost + 1) / (count + 2), (gained + 1) / (count + 2)
    middle = second - first
    half = z * math.sqrt((first + second - middle * middle) / (count + 2))
    return middle - half, middle + half
