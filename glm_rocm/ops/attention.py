"""Causal grouped-query attention over a paged key/value cache, and the store that fills the cache."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from torch import Tensor


@dataclass(frozen=True)
class AttentionProblem:
    """Attention at its per-rank shape.

    Attributes:
        heads: query heads (Hq).
        kv_heads: key/value heads (Hkv); Hq / Hkv is 12 for every GLM-4.5 / 4.6.
        head_dim: D.
        block_size: tokens per cache page, 1 (SGLang's slots) to 128 (vLLM on a CPU).
        dtype: of queries and output.
        kv_dtype: of the cache; an FP8 dtype implies the two scales.
    """

    heads: int
    kv_heads: int
    head_dim: int
    block_size: int
    dtype: str
    kv_dtype: str

    @property
    def op(self) -> str:
        return "attention"

    def describe(self) -> str:
        cache = "" if self.kv_dtype == self.dtype else f", cache {self.kv_dtype}"
        heads = f"{self.heads}/{self.kv_heads} heads of {self.head_dim}"
        return f"attention {heads}, pages of {self.block_size}, {self.dtype}{cache}"


class Attention(Protocol):
    """The call of op `attention`."""

    def __call__(
        self,
        q: Tensor,
        k_cache: Tensor,
        v_cache: Tensor,
        block_table: Tensor,
        query_start: Tensor,
        context_len: Tensor,
        *,
        scale: float,
        k_scale: float = 1.0,
        v_scale: float = 1.0,
        out: Tensor | None = None,
    ) -> Tensor:
        """Attend each query to its sequence's cached tokens up to its own position.

        Prefill, chunked prefill, decode and MTP verify may stand in one batch: query j of a sequence with n queries
        sees cache positions <= context_len - n + j. The keys and values of the queries are in the cache already.

        Args:
            q: `[T, Hq, D]`, strided.
            k_cache: `[num_blocks, block_size, Hkv, D]`, strided; of q's dtype, or FP8 with `k = code * k_scale`.
            v_cache: as k_cache, with `v = code * v_scale`.
            block_table: `[B, max_blocks]` int32, page numbers; entries past a sequence's last page may be anything.
            query_start: `[B + 1]` int32, rising; sequence b owns the rows query_start[b]:query_start[b + 1] of q.
            context_len: `[B]` int32, tokens in the cache, the sequence's own queries included.
            scale: factor of q . k, D ** -0.5 for GLM.
            out: `[T, Hq, D]` to write to; rows past query_start[-1] are then left as they are. Without it they are 0.

        Returns:
            `[T, Hq, D]` of q's dtype (fp32 from the reference), `out` where given. Cache slots that no sequence owns
            never reach the result, whatever they hold.
        """
        ...


class StoreKV(Protocol):
    """The call that writes new keys and values into the cache before `attention` reads it."""

    def __call__(
        self,
        k: Tensor,
        v: Tensor,
        k_cache: Tensor,
        v_cache: Tensor,
        slots: Tensor,
        *,
        k_scale: float = 1.0,
        v_scale: float = 1.0,
    ) -> None:
        """Scatter rows into cache slots; an FP8 cache gets `code = x / scale`, saturated to the format's finite range.

        Args:
            k, v: `[T, Hkv, D]`, strided.
            k_cache, v_cache: `[num_blocks, block_size, Hkv, D]`, strided, written in place.
            slots: `[T]` int64, page * block_size + offset; a negative slot is skipped. No slot twice.
        """
        ...


class PlanBatch(Protocol):
    """The call that a module with an attention kernel may offer beside it as `plan_batch`: once a step, before the
    layers. What it works out holds for the calls of `attention` that get the same three tensors."""

    def __call__(
        self,
        problem: AttentionProblem,
        block_table: Tensor,
        query_start: Tensor,
        context_len: Tensor,
        *,
        query_start_host: Tensor,
        context_len_host: Tensor,
        capture: bool = False,
    ) -> None:
        """Plan a batch.

        Args:
            block_table, query_start, context_len: as `Attention` takes them, on the device.
            query_start_host, context_len_host: the same numbers on the CPU.
            capture: the layers' calls will be captured in a graph; a later batch of as many sequences with at most
                as many queries each, planned without `capture`, is then what a replay computes.
        """
        ...
