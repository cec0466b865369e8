"""Paged attention: SGLang's token pool and batch description, turned into the op's call."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

import torch
from sglang.srt.layers.attention.base_attn_backend import AttentionBackend
from sglang.srt.model_executor.forward_batch_info import ForwardBatch
from sglang.srt.runtime_context import get_parallel

from glm_rocm.engines.active import attention_problem, batch_planner, kernel, require_attention, store_kernel


@dataclass
class GlmMetadata:
    """One batch: prefill, chunked prefill, decode, drafts and their verification.

    Attributes:
        query_start: [B + 1] int32, where each request's queries start.
        context_len: [B] int32, tokens of each request in the cache, this step's included.
        block_table: [B, max_blocks] int32, page numbers.
    """

    query_start: torch.Tensor
    context_len: torch.Tensor
    block_table: torch.Tensor


class GlmAttentionBackend(AttentionBackend):  # type: ignore[misc]
    """`--attention-backend glm_rocm`: every layer's attention, run by the kernel that the plan chose."""

    _planned: ClassVar[GlmMetadata | None] = None
    """The batch that the kernel has planned last, by whichever backend of this process."""

    def __init__(self, runner: Any, drafted: int = 0) -> None:
        """
        Args:
            runner: SGLang's model runner, of the model or of its MTP layer.
            drafted: for the steps of a draft: how many tokens follow those that SGLang counts in `seq_lens`.
        """
        super().__init__()
        self.pool = runner.token_to_kv_pool
        self.req_to_token = runner.req_to_token_pool.req_to_token  # [requests, context] slots
        self.page_size = runner.page_size
        self.drafted = drafted
        self.forward_metadata: GlmMetadata | None = None
        ranks, config = get_parallel().attn_tp_size, runner.model_config
        require_attention(config.num_attention_heads // ranks, config.get_num_kv_heads(ranks), config.head_dim)
        self._attention = kernel("attention")
        self._store = store_kernel()

    def init_forward_metadata(self, forward_batch: ForwardBatch) -> None:
        """The metadata of one step, shared by all layers."""
        batch = forward_batch
        if batch.forward_mode.is_idle():
            self.forward_metadata = None
            return
        queries, context = self._lengths(batch)
        start = torch.zeros(queries.shape[0] + 1, dtype=torch.int32, device=queries.device)
        torch.cumsum(queries, 0, out=start[1:])
        # A page's slots lie side by side and begin at a multiple of its size: every page's first slot tells its number.
        longest = int(context.max())
        table = self.req_to_token[batch.req_pool_indices, : longest : self.page_size]
        pages = torch.div(table, self.page_size, rounding_mode="floor").to(torch.int32)
        context = context.to(torch.int32)
        self.forward_metadata = GlmMetadata(start, context, pages)

    def _lengths(self, batch: ForwardBatch) -> tuple[torch.Tensor, torch.Tensor]:
        """[B] queries of each request, and [B] tokens in the cache once they are stored."""
        lengths = batch.seq_lens
        if batch.forward_mode.is_decode():
            return torch.ones_like(lengths), lengths + self.drafted
        if batch.forward_mode.is_target_verify():
            verified = batch.spec_info.draft_token_num
            return torch.full_like(lengths, verified), lengths + verified
        return batch.extend_seq_lens, batch.extend_prefix_lens + batch.extend_seq_lens

    def _plan(self, batch: GlmMetadata) -> None:
        """Have the kernel plan the batch where it wants to: at a step's first layer, since it keeps one plan and a
        draft's steps are all described before the first is run."""
        plan_batch = batch_planner()
        if plan_batch is not None and GlmAttentionBackend._planned is not batch:
            on_host = {"query_start_host": batch.query_start.cpu(), "context_len_host": batch.context_len.cpu()}
            plan_batch(attention_problem(), batch.block_table, batch.query_start, batch.context_len, **on_host)
            GlmAttentionBackend._planned = batch

    def _pages(self, buffer: torch.Tensor) -> torch.Tensor:
        """[slots, Hkv, D] as [num_blocks, block_size, Hkv, D]; no copy."""
        return buffer.view(-1, self.page_size, *buffer.shape[1:])

    def _forward(
        self,
        q: torch.Tensor,  # [T, Hq * D]
        k: torch.Tensor | None,  # [T, Hkv, D]
        v: torch.Tensor | None,
        layer: Any,
        forward_batch: ForwardBatch,
        save_kv_cache: bool = True,
        **kwargs: Any,
    ) -> torch.Tensor:
        if kwargs or layer.is_cross_attention or layer.sliding_window_size > -1 or layer.logit_cap:
            raise NotImplementedError("GLM-4.5 / 4.6 attention is causal, over the whole context, and nothing more")
        batch = self.forward_metadata
        assert batch is not None
        self._plan(batch)
        k_cache = self._pages(self.pool.get_key_buffer(layer.layer_id))
        v_cache = self._pages(self.pool.get_value_buffer(layer.layer_id))
        scales = {"k_scale": layer.k_scale_float or 1.0, "v_scale": layer.v_scale_float or 1.0}
        if save_kv_cache and k is not None and v is not None:
            self._store(k, v, k_cache, v_cache, forward_batch.out_cache_loc, **scales)
        found: torch.Tensor = self._attention(
            q.view(-1, layer.tp_q_head_num, layer.head_dim),
            k_cache,
            v_cache,
            batch.block_table,
            batch.query_start,
            batch.context_len,
            scale=layer.scaling,
            **scales,
        )
        return found.view(found.shape[0], -1)  # [T, Hq * D]

    # One kernel for a decode's single queries and an extend's many: SGLang asks under two names.
    forward_decode = _forward
    forward_extend = _forward
