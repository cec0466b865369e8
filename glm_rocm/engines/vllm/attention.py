"""Paged attention: vLLM's cache and batch description, turned into the op's call."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

import torch
from vllm.logger import init_logger
from vllm.platforms import current_platform
from vllm.v1.attention.backend import (
    AttentionBackend,
    AttentionCGSupport,
    AttentionImpl,
    AttentionMetadataBuilder,
    AttentionType,
    CommonAttentionMetadata,
    MultipleOf,
)

from glm_rocm.engines.active import (
    attention_problem,
    batch_planner,
    chosen,
    kernel,
    require_attention,
    store_kernel,
)

logger = init_logger("vllm.glm_rocm")


@dataclass
class GlmMetadata:
    """One batch: prefill, chunked prefill, decode and verify requests side by side.

    Attributes:
        tokens: query tokens that are real; rows beyond are padding.
        query_start: [B + 1] int32, where each request's queries start.
        context_len: [B] int32, tokens of each request in the cache, this step's included.
        block_table: [B, max_blocks] int32.
    """

    tokens: int
    query_start: torch.Tensor
    context_len: torch.Tensor
    block_table: torch.Tensor


GRAPHS = {
    "always": AttentionCGSupport.ALWAYS,
    "uniform": AttentionCGSupport.UNIFORM_BATCH,
    "never": AttentionCGSupport.NEVER,
}
"""A kernel's word for what may be captured, in vLLM's."""


class GlmMetadataBuilder(AttentionMetadataBuilder[GlmMetadata]):  # type: ignore[misc]
    """Keeps of vLLM's batch description what the op's call needs; has the kernel plan the batch where it wants to."""

    def __init__(self, kv_cache_spec: Any, layer_names: list[str], vllm_config: Any, device: torch.device) -> None:
        super().__init__(kv_cache_spec, layer_names, vllm_config, device)
        # vLLM's lengths on the host are guesses while drafts may still be refused.
        self._drafting = getattr(vllm_config, "speculative_config", None) is not None

    @classmethod
    def get_cudagraph_support(cls, vllm_config: Any, kv_cache_spec: Any) -> AttentionCGSupport:
        """What the chosen kernel declares."""
        found = chosen("attention")
        return GRAPHS[found.graph] if found else AttentionCGSupport.NEVER

    def build(
        self, common_prefix_len: int, common_attn_metadata: CommonAttentionMetadata, fast_build: bool = False
    ) -> GlmMetadata:
        """The metadata of one step, shared by all layers of the group."""
        return self._build(common_attn_metadata, capture=False)

    def build_for_cudagraph_capture(self, common_attn_metadata: CommonAttentionMetadata) -> GlmMetadata:
        """The metadata of a step whose layers are captured."""
        return self._build(common_attn_metadata, capture=True)

    def _build(self, batch: CommonAttentionMetadata, *, capture: bool) -> GlmMetadata:
        if batch.causal is not True:
            raise NotImplementedError("GLM-4.5 / 4.6 attention is causal")
        metadata = GlmMetadata(
            tokens=batch.num_actual_tokens,
            query_start=batch.query_start_loc,
            context_len=batch.seq_lens,
            block_table=batch.block_table_tensor,
        )
        plan_batch = batch_planner()
        if plan_batch is not None:
            lengths = None if self._drafting else batch.seq_lens_cpu_upper_bound
            plan_batch(
                attention_problem(),
                metadata.block_table,
                metadata.query_start,
                metadata.context_len,
                query_start_host=batch.query_start_loc_cpu,
                context_len_host=batch.seq_lens.cpu() if lengths is None else lengths,
                capture=capture,
            )
        return metadata


class GlmAttentionBackend(AttentionBackend):  # type: ignore[misc]
    """The backend that `--attention-backend CUSTOM` names while a plan is active."""

    forward_includes_kv_cache_update: bool = False
    supported_dtypes: ClassVar[list[torch.dtype]] = [torch.float16, torch.bfloat16, torch.float32]
    supported_kv_cache_dtypes: ClassVar[list[str]] = ["auto", "float16", "bfloat16", "fp8", "fp8_e4m3"]

    @staticmethod
    def get_name() -> str:
        """A member of vLLM's enumeration of backends; `CUSTOM` is the one kept for plug-ins."""
        return "CUSTOM"

    @staticmethod
    def get_impl_cls() -> type[GlmAttention]:
        """The per-layer implementation."""
        return GlmAttention

    @staticmethod
    def get_builder_cls() -> type[GlmMetadataBuilder]:
        """The per-step metadata."""
        return GlmMetadataBuilder

    @staticmethod
    def get_supported_kernel_block_sizes(kv_cache_spec: Any = None) -> list[int | MultipleOf]:
        """Any page size: the op takes it from the cache's strides."""
        return [MultipleOf(1)]


class GlmAttention(AttentionImpl[GlmMetadata]):  # type: ignore[misc]
    """One layer's attention, run by the kernel that the plan chose."""

    def __init__(
        self,
        num_heads: int,
        head_size: int,
        scale: float,
        num_kv_heads: int | None = None,
        alibi_slopes: list[float] | None = None,
        sliding_window: int | None = None,
        kv_cache_dtype: str = "auto",
        logits_soft_cap: float | None = None,
        attn_type: str = AttentionType.DECODER,
        kv_sharing_target_layer_name: str | None = None,
        **kwargs: Any,
    ) -> None:
        asked = {
            "ALiBi": alibi_slopes is not None,
            "a sliding window": sliding_window is not None,
            "logit soft-capping": bool(logits_soft_cap),
            f"attention type {attn_type}": attn_type != AttentionType.DECODER,
            "KV sharing between layers": kv_sharing_target_layer_name is not None,
        }
        if unsupported := [what for what, wanted in asked.items() if wanted]:
            raise NotImplementedError(f"not part of GLM-4.5 / 4.6 attention: {', '.join(unsupported)}")
        self.num_heads = num_heads
        self.head_size = head_size
        self.scale = float(scale)
        self.num_kv_heads = num_kv_heads or num_heads
        self.kv_cache_dtype = kv_cache_dtype
        require_attention(self.num_heads, self.num_kv_heads, head_size)
        self._attention = kernel("attention")
        self._store = store_kernel()
        logger.info_once("attention by kernel %s", getattr(chosen("attention"), "name", None))

    def _views(self, kv_cache: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """K and V as strided views [num_blocks, block_size, Hkv, D] of [num_blocks, Hkv, block_size, 2 D]; no copy."""
        if self.kv_cache_dtype.startswith("fp8"):
            # vLLM allocates bytes; which E4M3 they are is the platform's word (fnuz on gfx942).
            kv_cache = kv_cache.view(current_platform.fp8_dtype())
        pages = kv_cache.transpose(1, 2)
        return pages[..., : self.head_size], pages[..., self.head_size :]

    def do_kv_cache_update(
        self,
        layer: Any,
        key: torch.Tensor,
        value: torch.Tensor,
        kv_cache: torch.Tensor,
        slot_mapping: torch.Tensor,
    ) -> None:
        """Write this step's keys and values; slots below 0 are padding."""
        k_cache, v_cache = self._views(kv_cache)
        tokens = slot_mapping.shape[0]
        self._store(
            key[:tokens],
            value[:tokens],
            k_cache,
            v_cache,
            slot_mapping,
            k_scale=layer._k_scale_float,
            v_scale=layer._v_scale_float,
        )

    def forward(
        self,
        layer: Any,
        query: torch.Tensor,  # [T, Hq, D]
        key: torch.Tensor,
        value: torch.Tensor,
        kv_cache: torch.Tensor,
        attn_metadata: GlmMetadata | None,
        output: torch.Tensor,  # [T, Hq, D]
        output_scale: torch.Tensor | None = None,
        output_block_scale: torch.Tensor | None = None,
    ) -> torch.Tensor:
        """Attention over the cache, into `output`. Without metadata (vLLM's profiling run) the result is zero."""
        if attn_metadata is None:
            return output.zero_()
        batch = attn_metadata
        k_cache, v_cache = self._views(kv_cache)
        shape = (batch.tokens, self.num_heads, self.head_size)
        self._attention(
            query[: batch.tokens].view(shape),
            k_cache,
            v_cache,
            batch.block_table,
            batch.query_start,
            batch.context_len,
            scale=self.scale,
            k_scale=layer._k_scale_float,
            v_scale=layer._v_scale_float,
            out=output[: batch.tokens].view(shape),
        )
        return output
