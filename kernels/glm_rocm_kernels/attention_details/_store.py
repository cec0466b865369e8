"""New keys and values to their slots of the cache."""

import triton.language as tl

from glm_rocm_kernels._triton import jit
from glm_rocm_kernels.quant_details._quantize import to_codes


@jit
def encode(x, scale, dtype: tl.constexpr, LIMIT: tl.constexpr):
    """`x` in the cache's dtype; LIMIT > 0: `x / scale`, held to the format's finite range."""
    if LIMIT > 0:
        x = to_codes(tl.div_rn(x.to(tl.float32), tl.full(x.shape, 0.0, tl.float32) + scale), LIMIT, dtype)
    return x.to(dtype)


@jit
def store(
    k_ptr,
    v_ptr,
    k_cache_ptr,
    v_cache_ptr,
    slot_ptr,
    k_scale,
    v_scale,
    k_token,
    k_head,
    v_token,
    v_head,
    kc_block,
    kc_slot,
    kc_head,
    vc_block,
    vc_slot,
    vc_head,
    HEADS: tl.constexpr,
    D: tl.constexpr,
    PADDED_HEADS: tl.constexpr,
    PADDED_D: tl.constexpr,
    BLOCK_SIZE: tl.constexpr,
    LIMIT: tl.constexpr,
):
    """Grid: (T). All KV heads of one token."""
    token = tl.program_id(0).to(tl.int64)
    slot = tl.load(slot_ptr + token)
    if slot < 0:
        return
    page = slot // BLOCK_SIZE
    at = slot % BLOCK_SIZE
    head = tl.arange(0, PADDED_HEADS)[:, None]
    d = tl.arange(0, PADDED_D)[None, :]
    live = (head < HEADS) & (d < D)
    k = tl.load(k_ptr + token * k_token + head * k_head + d, mask=live)
    v = tl.load(v_ptr + token * v_token + head * v_head + d, mask=live)
    k = encode(k, k_scale, k_cache_ptr.dtype.element_ty, LIMIT)
    v = encode(v, v_scale, v_cache_ptr.dtype.element_ty, LIMIT)
    tl.store(k_cache_ptr + page * kc_block + at * kc_slot + head * kc_head + d, k, mask=live)
    tl.store(v_cache_ptr + page * vc_block + at * vc_slot + head * vc_head + d, v, mask=live)
