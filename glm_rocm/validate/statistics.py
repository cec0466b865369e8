"""Paired comparison of two models on the same questions."""

from __future__ import annotations

import math


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
