"""Paged attention by FlashInfer: planned once a batch, run once a layer. Signatures: `glm_rocm.ops.attention`.

One wrapper does prefill, decode and verify, the paged prefill one: it takes the ratio of query to key heads at run
time, where the default decode kernel has instances for 1, 2, 3, 4, 8 (and 6, 16 from 0.7) and none for GLM's 12
(csrc/batch_decode.cu, DISPATCH_GQA_GROUP_SIZE). With one query a sequence it is what the decode wrapper itself runs
under `use_tensor_cores=True`.

Nothing is allocated and nothing read back between `plan_batch` and the end of the last layer, so that the layers can
be captured. A captured batch has a wrapper of its own, whose buffers the next plan of its kind fills anew.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import lru_cache
from typing import Any

import torch
from torch import Tensor

from glm_rocm.backends.cuda.pages import PagedBatch, paged_batch
from glm_rocm.ops.attention import AttentionProblem
from glm_rocm_kernels.attention import store_kv as store_kv

WORKSPACE_BYTES = 128 << 20
"""Per device, shared by all wrappers: what FlashInfer's documentation recommends for its split contexts."""
LAYOUT = "NHD"
"""How FlashInfer names our order of a page's dimensions; it takes the strides from the tensors."""
UNIFORM = "fa2"
"""Its kernel for any card, and for few queries everywhere: it splits a context, which the Hopper one does not."""
HOPPER = "fa3"
"""Its kernel for all other batches on Hopper, where the cache is not FP8 (utils.py, is_fa3_backend_supported). Said by
name: left to `auto`, 0.7 may take cuDNN, which does not multiply the two factors of the scale."""
FEW_QUERIES = 8
"""Up to this many queries in each sequence a batch counts as decode or verify: one and the most drafts of a plan."""


@dataclass(frozen=True)
class Planned:
    """A batch that a wrapper was planned for, and the tensors by which the layers' calls are known to be of it."""

    wrapper: Any
    rows: int
    tensors: tuple[Tensor, Tensor, Tensor]

    def is_for(self, *tensors: Tensor) -> bool:
        """Whether a call with these very tensors is of this batch."""
        return all(a is b for a, b in zip(self.tensors, tensors, strict=True))


@dataclass
class Planner:
    """The wrappers of one device.

    Attributes:
        workspace: shared, since one layer runs at a time.
        eager: outside graphs, by FlashInfer's kernel and whether a call planned for itself.
        captured: by (sequences, queries of each), in the order of their capture.
    """

    device: torch.device
    workspace: Tensor
    eager: dict[tuple[str, bool], Any] = field(default_factory=dict)
    captured: dict[tuple[int, int], Any] = field(default_factory=dict)
    current: Planned | None = None

    def wrapper(self, problem: AttentionProblem, batch: PagedBatch, most_pages: int, *, capture: bool) -> Any:
        """The wrapper that a batch is planned with; a new one where a shape is captured for the first time."""
        key = (len(batch.last_page_len), batch.longest)
        if key in self.captured:
            return self.captured[key]
        if capture:
            self.captured[key] = self._graph_wrapper(key[0], most_pages)
            return self.captured[key]
        return self.eager_wrapper(problem, batch, alone=False)

    def eager_wrapper(self, problem: AttentionProblem, batch: PagedBatch, *, alone: bool) -> Any:
        """A wrapper outside graphs; `alone`: for a call that plans for itself, which must not undo a step's plan."""
        many = batch.longest > FEW_QUERIES and problem.kv_dtype == problem.dtype
        kernel = HOPPER if many and is_hopper(self.device) else UNIFORM
        if (kernel, alone) not in self.eager:
            self.eager[kernel, alone] = _wrapper_class()(self.workspace, LAYOUT, backend=kernel)
        return self.eager[kernel, alone]

    def _graph_wrapper(self, sequences: int, most_pages: int) -> Any:
        def buffer(length: int) -> Tensor:
            return torch.zeros(length, dtype=torch.int32, device=self.device)

        return _wrapper_class()(
            self.workspace,
            LAYOUT,
            use_cuda_graph=True,
            qo_indptr_buf=buffer(sequences + 1),
            paged_kv_indptr_buf=buffer(sequences + 1),
            paged_kv_indices_buf=buffer(max(1, most_pages)),
            paged_kv_last_page_len_buf=buffer(sequences),
            backend=UNIFORM,
        )


@lru_cache(maxsize=16)
def is_hopper(device: torch.device) -> bool:
    """Whether a device has compute capability 9.0."""
    return device.type == "cuda" and torch.cuda.get_device_capability(device) == (9, 0)


@lru_cache(maxsize=16)
def planner(device: torch.device) -> Planner:
    """The planner of a device, made at its first batch."""
    return Planner(device, torch.zeros(WORKSPACE_BYTES, dtype=torch.uint8, device=device))


def plan_batch(
    problem: AttentionProblem,
    block_table: Tensor,
    query_start: Tensor,
    context_len: Tensor,
    *,
    query_start_host: Tensor,
    context_len_host: Tensor,
    capture: bool = False,
) -> None:
    """See `glm_rocm.ops.attention.PlanBatch`."""
    here = planner(block_table.device)
    batch = paged_batch(block_table, query_start_host, context_len_host, problem.block_size)
    wrapper = here.wrapper(problem, batch, block_table.numel(), capture=capture)
    if batch.rows:
        _plan(wrapper, batch, problem)
    here.current = Planned(wrapper, batch.rows, (block_table, query_start, context_len))


def attention(
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
    """See `glm_rocm.ops.attention.Attention`. A batch that nobody planned is planned here, for this call alone."""
    here = planner(q.device)
    planned = here.current
    if planned is None or not planned.is_for(block_table, query_start, context_len):
        heads, head_dim = q.shape[1:]
        dtypes = [str(x.dtype).removeprefix("torch.") for x in (q, k_cache)]
        problem = AttentionProblem(heads, k_cache.shape[2], head_dim, k_cache.shape[1], *dtypes)
        batch = paged_batch(block_table, query_start.cpu(), context_len.cpu(), problem.block_size)
        wrapper = here.eager_wrapper(problem, batch, alone=True)
        if batch.rows:
            _plan(wrapper, batch, problem)
        planned = Planned(wrapper, batch.rows, (block_table, query_start, context_len))
    result = torch.zeros(q.shape, dtype=q.dtype, device=q.device) if out is None else out
    if planned.rows:
        _run(planned, q, (k_cache, v_cache), result, scale=scale, k_scale=k_scale, v_scale=v_scale)
    return result


def _plan(wrapper: Any, batch: PagedBatch, problem: AttentionProblem) -> None:
    """Every option by name: positions changed between FlashInfer's versions, and its default dtype is float16."""
    dtype, kv_dtype = getattr(torch, problem.dtype), getattr(torch, problem.kv_dtype)
    wrapper.plan(
        batch.query_indptr,
        batch.page_indptr,
        batch.page_indices,
        batch.last_page_len,
        problem.heads,
        problem.kv_heads,
        problem.head_dim,
        problem.block_size,
        causal=True,
        sm_scale=1.0,
        q_data_type=dtype,
        kv_data_type=kv_dtype,
        o_data_type=dtype,
        non_blocking=True,
    )


def _run(
    planned: Planned,
    q: Tensor,
    caches: tuple[Tensor, Tensor],
    out: Tensor,
    *,
    scale: float,
    k_scale: float,
    v_scale: float,
) -> None:
    """`sm_scale` was planned as 1: the layer's own factor goes in as q's, which FlashInfer multiplies it with."""
    planned.wrapper.run(
        q[: planned.rows],
        caches,
        q_scale=scale,
        k_scale=None if k_scale == 1.0 else k_scale,
        v_scale=None if v_scale == 1.0 else v_scale,
        out=out[: planned.rows],
    )


@lru_cache(maxsize=1)
def _wrapper_class() -> Any:
    from flashinfer import BatchPrefillWithPagedKVCacheWrapper

    return BatchPrefillWithPagedKVCacheWrapper
