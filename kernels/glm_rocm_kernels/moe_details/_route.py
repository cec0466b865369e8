"""Routing: the top-k of sigmoid(logits) + bias, and the weights, which are of sigmoid(logits) alone.

Choices are compared as integers: a float's bits, mapped so that integers order as the floats do, above the id turned
around. One maximum then decides by score and, among equals, for the lower id; NaN counts as the largest, as it does
in torch's sort, and nothing is ever out of range.
"""

from __future__ import annotations

import triton.language as tl

from glm_rocm_kernels._triton import jit

LOWEST = tl.constexpr(-(2**31))
"""The key of a column that is no expert; below -inf's."""


@jit
def sigmoid(x):
    """1 / (1 + exp(-x)), good to about 1 ulp: x log2(e) in two parts, since its rounding alone would cost 8."""
    LOG2E: tl.constexpr = 1.4426950408889634
    LOG2E_HIGH: tl.constexpr = 1.44269502162933349609375
    LN2: tl.constexpr = 0.6931471805599453
    t = -x * LOG2E_HIGH
    rest = tl.fma(-x, LOG2E_HIGH, -t) - x * (LOG2E - LOG2E_HIGH)
    e = tl.exp2(t)
    # exp2(t + rest), with the rest to first order; where e is next to 0 or inf there is nothing left to correct.
    e = tl.where((e > 1e-37) & (e < 1e38), tl.fma(e, rest * LN2, e), e)
    return tl.div_rn(1.0, 1.0 + e)


@jit
def _key(x):
    """int32 that orders as fp32 `x` does; NaN is the largest."""
    bits = x.to(tl.int32, bitcast=True)
    return tl.where(x == x, bits ^ ((bits >> 31) & 0x7FFFFFFF), 0x7FFFFFFF)


@jit
def _value(key):
    """The float of a key."""
    return (key ^ ((key >> 31) & 0x7FFFFFFF)).to(tl.float32, bitcast=True)


@jit
def _keep_groups(
    key,
    expert,
    ROWS: tl.constexpr,
    EXPERTS_2: tl.constexpr,
    GROUP_SIZE: tl.constexpr,
    GROUPS: tl.constexpr,
    KEPT_GROUPS: tl.constexpr,
    GROUPS_2: tl.constexpr,
):
    """Experts of the groups that are not among the best become -inf; a group counts as its two best, added."""
    column = tl.arange(0, GROUPS_2)[None, :]
    scores = tl.full((ROWS, GROUPS_2), LOWEST, tl.int32)
    for group in tl.static_range(GROUPS):
        inside = (expert // GROUP_SIZE) == group
        members = tl.where(inside, key, LOWEST)
        best, place = tl.max(members, 1, return_indices=True)
        score = _value(best)
        if GROUP_SIZE > 1:
            second = tl.max(tl.where(expert == place[:, None], LOWEST, members), 1)
            score += _value(second)
        scores = tl.where(column == group, _key(score)[:, None], scores)
    kept = tl.zeros((ROWS, EXPERTS_2), tl.int32)
    for group in tl.static_range(GROUPS):
        own = tl.max(tl.where(column == group, scores, LOWEST), 1)[:, None]
        ahead = (scores > own) | ((scores == own) & (column < group))
        rank = tl.sum(tl.where(ahead & (column < GROUPS), 1, 0), 1)[:, None]
        kept = tl.where(((expert // GROUP_SIZE) == group) & (rank < KEPT_GROUPS), 1, kept)
    return tl.where((kept == 0) & (key != LOWEST), _key(tl.full((ROWS, EXPERTS_2), float("-inf"), tl.float32)), key)


@jit
def route_rows(
    logits,
    bias,
    ids,
    weights,
    first,
    tokens,
    stride_logits,
    scale,
    EXPERTS: tl.constexpr,
    EXPERTS_2: tl.constexpr,
    TOP_K: tl.constexpr,
    TOP_K_2: tl.constexpr,
    GROUPS: tl.constexpr,
    GROUPS_2: tl.constexpr,
    KEPT_GROUPS: tl.constexpr,
    NORMALIZE: tl.constexpr,
    ROWS: tl.constexpr,
):
    """Route tokens `first` to `first + ROWS`; a constant with the suffix 2 is the next power of two."""
    token = first + tl.arange(0, ROWS)
    live = token < tokens
    expert = tl.arange(0, EXPERTS_2)[None, :]
    there = expert < EXPERTS
    logit = tl.load(logits + token[:, None] * stride_logits + expert, mask=live[:, None] & there, other=0.0)
    choice = sigmoid(logit) + tl.load(bias + expert, mask=there, other=0.0)
    key = tl.where(there, _key(choice), LOWEST)
    if GROUPS > 1:
        key = _keep_groups(key, expert, ROWS, EXPERTS_2, EXPERTS // GROUPS, GROUPS, KEPT_GROUPS, GROUPS_2)
    packed = (key.to(tl.int64) << 32) | (EXPERTS_2 - 1 - expert).to(tl.int64)
    best = tl.topk(packed, TOP_K_2, 1)  # [ROWS, TOP_K_2], falling
    chosen = EXPERTS_2 - 1 - (best & (EXPERTS_2 - 1)).to(tl.int32)
    slot = tl.arange(0, TOP_K_2)[None, :]
    real = live[:, None] & (slot < TOP_K)
    weight = sigmoid(tl.load(logits + token[:, None] * stride_logits + chosen, mask=real, other=0.0))
    weight = tl.where(slot < TOP_K, weight, 0.0)
    if NORMALIZE:
        weight = tl.div_rn(weight, tl.broadcast_to(tl.sum(weight, 1)[:, None] + 1e-20, (ROWS, TOP_K_2)))
    place = token[:, None] * TOP_K + slot
    tl.store(ids + place, chosen, mask=real)
    tl.store(weights + place, weight * scale, mask=real)


@jit
def route_kernel(
    logits,
    bias,
    ids,
    weights,
    tokens,
    stride_logits,
    scale,
    EXPERTS: tl.constexpr,
    EXPERTS_2: tl.constexpr,
    TOP_K: tl.constexpr,
    TOP_K_2: tl.constexpr,
    GROUPS: tl.constexpr,
    GROUPS_2: tl.constexpr,
    KEPT_GROUPS: tl.constexpr,
    NORMALIZE: tl.constexpr,
    ROWS: tl.constexpr,
):
    """One program routes ROWS tokens."""
    route_rows(
        logits,
        bias,
        ids,
        weights,
        tl.program_id(0) * ROWS,
        tokens,
        stride_logits,
        scale,
        EXPERTS,
        EXPERTS_2,
        TOP_K,
        TOP_K_2,
        GROUPS,
        GROUPS_2,
        KEPT_GROUPS,
        NORMALIZE,
        ROWS,
    )
