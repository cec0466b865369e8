"""Routed experts: SGLang's MoE runner, turned into the op's call.

Who multiplies by the routed scale: SGLang's GLM model does, after the experts, except on CUDA and with AITER, where it
counts on the runner, unless the router has put the scale into the weights. `scale_left_to_runner` answers that from the
model's own flags, so that it is applied once either way.

Whether the shared expert is one of them: the plan counts the routed experts alone, and the command line says
`--disable-shared-experts-fusion`. Where SGLang is told otherwise it hands over one expert and one choice more, and the
op runs what it is handed.
"""

from __future__ import annotations

from typing import Any

import torch
from sglang.srt.layers.moe.moe_runner.base import DispatchMoeRunnerCore, MoeRunnerConfig
from sglang.srt.layers.moe.moe_runner.runner import MoeRunner
from sglang.srt.layers.moe.token_dispatcher import StandardCombineInput
from sglang.srt.layers.moe.utils import resolve_moe_runner_backend

from glm_rocm.engines.active import experts
from glm_rocm.engines.sglang.command import BACKEND


class GlmRunner(DispatchMoeRunnerCore):  # type: ignore[misc]
    """`--moe-runner-backend glm_rocm`: the experts of one layer, run by the kernel that the plan chose."""

    @property
    def runner_backend(self) -> Any:
        """Our name, as SGLang keeps it."""
        return resolve_moe_runner_backend(BACKEND)

    def run_from_dispatch(
        self, dispatch_output: Any, quant_info: Any, runner_config: MoeRunnerConfig, hooks: Any = None
    ) -> StandardCombineInput:
        """The experts' weighted sum: [T, H] -> [T, H]. An expert of another rank has a negative id."""
        if runner_config.activation != "silu" or runner_config.apply_router_weight_on_input or hooks is not None:
            raise NotImplementedError("GLM-4.5 / 4.6 have SwiGLU experts, weighted after the product, without LoRA")
        topk = dispatch_output.topk_output
        weights: torch.Tensor = topk.topk_weights
        if scale_left_to_runner(runner_config):
            weights = weights * runner_config.routed_scaling_factor
        found = experts(
            dispatch_output.hidden_states,
            quant_info.w13_weight,
            quant_info.w2_weight,
            topk.topk_ids,
            weights,
            w13_scale=quant_info.w13_scale,
            w2_scale=quant_info.w2_scale,
            quant=scheme(quant_info),
        )
        return StandardCombineInput(hidden_states=found)


def scheme(quant_info: Any) -> str:
    """The op's word for SGLang's description of quantised weights.

    Raises:
        NotImplementedError: a scheme that GLM's checkpoints do not have.
    """
    if not quant_info.use_fp8_w8a8:
        return "none"
    if quant_info.block_shape is not None and list(quant_info.block_shape) == [128, 128]:
        return "block"
    if quant_info.per_channel_quant:
        return "channel_token"
    raise NotImplementedError("FP8 experts are scaled per channel and token, or in 128x128 blocks")


def scale_left_to_runner(config: MoeRunnerConfig) -> bool:
    """Whether SGLang's GLM model leaves the routed scale to the MoE runner of this process.

    It never puts the scale into the router's weights for a runner of ours: that is for runners that SGLang knows.
    """
    from sglang.srt.models import glm4_moe

    return bool((glm4_moe._is_cuda or glm4_moe._use_aiter) and config.routed_scaling_factor is not None)


def create_moe_runner(original: Any, method: Any, layer: Any, moe_runner_config: MoeRunnerConfig) -> None:
    """Around each quantisation method's `create_moe_runner`, which knows SGLang's own runners alone."""
    method.moe_runner_config = moe_runner_config
    method.runner = MoeRunner(resolve_moe_runner_backend(BACKEND), moe_runner_config)


def apply(original: Any, method: Any, layer: Any, dispatch_output: Any) -> Any:
    """Around `apply` where it knows SGLang's own runners alone."""
    return method.runner.run(dispatch_output, method.get_triton_quant_info(layer))
