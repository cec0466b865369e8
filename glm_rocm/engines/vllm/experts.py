"""Routed experts: vLLM's modular MoE kernel, turned into the op's call.

The routed scale is not applied here. vLLM's GLM model multiplies the experts' output by it, or, when AITER's fused MoE
is on, has the router put it into the weights: once either way (see `install` for float16), and the op's weights are
taken as they come.
"""

from __future__ import annotations

from typing import Any

import torch
import vllm.model_executor.layers.fused_moe.modular_kernel as mk
from vllm.model_executor.layers.fused_moe.activation import MoEActivation
from vllm.model_executor.layers.fused_moe.topk_weight_and_reduce import TopKWeightAndReduceNoOP
from vllm.model_executor.layers.quantization.utils.quant_utils import (
    QuantKey,
    kFp8Dynamic128Sym,
    kFp8DynamicTokenSym,
    kFp8Static128BlockSym,
    kFp8StaticChannelSym,
)

from glm_rocm.engines.active import active_plan, experts
from glm_rocm.engines.vllm.ops import experts_op

SCHEMES: dict[tuple[QuantKey | None, QuantKey | None], str] = {
    (None, None): "none",
    (kFp8StaticChannelSym, kFp8DynamicTokenSym): "channel_token",
    (kFp8Static128BlockSym, kFp8Dynamic128Sym): "block",
}
"""vLLM's (weight, activation) quantisation keys, and the op's word for them."""


class GlmExperts(mk.FusedMoEExpertsModular):  # type: ignore[misc]
    """The experts of one layer, run by the kernel that the plan chose; it quantises activations itself."""

    @property
    def expects_unquantized_inputs(self) -> bool:
        """The op takes activations as they are."""
        return True

    @staticmethod
    def activation_format() -> mk.FusedMoEActivationFormat:
        """[T, H], not batched by expert."""
        return mk.FusedMoEActivationFormat.Standard

    @staticmethod
    def _supports_current_device() -> bool:
        return active_plan() is not None

    @staticmethod
    def _supports_no_act_and_mul() -> bool:
        return False

    @staticmethod
    def _supports_quant_scheme(weight_key: QuantKey | None, activation_key: QuantKey | None) -> bool:
        return (weight_key, activation_key) in SCHEMES

    @staticmethod
    def _supports_activation(activation: MoEActivation) -> bool:
        return bool(activation == MoEActivation.SILU)

    @staticmethod
    def _supports_parallel_config(moe_parallel_config: Any) -> bool:
        return True

    def workspace_shapes(
        self,
        M: int,
        N: int,
        K: int,
        topk: int,
        global_num_experts: int,
        local_num_experts: int,
        expert_tokens_meta: mk.ExpertTokensMetadata | None,
        activation: MoEActivation,
    ) -> tuple[tuple[int, ...], tuple[int, ...], tuple[int, ...]]:
        """No workspace: the op allocates what it needs. The result is [M, K]."""
        return (0,), (0,), (M, K)

    def finalize_weight_and_reduce_impl(self) -> mk.TopKWeightAndReduce:
        """Nothing left to do: the op has weighted and summed the experts."""
        return TopKWeightAndReduceNoOP()

    def _scheme(self) -> str:
        if self.w1_scale is None:
            return "none"
        return "channel_token" if self.block_shape is None else "block"

    def apply(
        self,
        output: torch.Tensor,  # [T, H]
        hidden_states: torch.Tensor,  # [T, H]
        w1: torch.Tensor,  # [E, 2N, H]
        w2: torch.Tensor,  # [E, H, N]
        topk_weights: torch.Tensor,  # [T, K]
        topk_ids: torch.Tensor,  # [T, K]
        activation: MoEActivation,
        global_num_experts: int,
        expert_map: torch.Tensor | None,
        a1q_scale: torch.Tensor | None,
        a2_scale: torch.Tensor | None,
        workspace13: torch.Tensor,
        workspace2: torch.Tensor,
        expert_tokens_meta: mk.ExpertTokensMetadata | None,
        apply_router_weight_on_input: bool,
    ) -> None:
        """The experts' weighted sum, into `output`."""
        if apply_router_weight_on_input:
            raise NotImplementedError("GLM-4.5 / 4.6 weigh the experts' output, not their input")
        tensors = (hidden_states, w1, w2, topk_ids, topk_weights)
        if torch.compiler.is_compiling():
            experts_op(output, *tensors, self.w1_scale, self.w2_scale, self._scheme(), expert_map)
            return
        experts(
            *tensors,
            w13_scale=self.w1_scale,
            w2_scale=self.w2_scale,
            quant=self._scheme(),
            expert_map=expert_map,
            out=output,
        )
