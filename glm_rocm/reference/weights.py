"""The weights of a GLM as values, read from a checkpoint's own tensors by their own names."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import torch
from torch import Tensor

from glm_rocm.model.spec import ModelSpec
from glm_rocm.reference.linear import linear


@dataclass(frozen=True)
class Projection:
    """A linear layer's weight `[N, K]`, or all experts' `[E, N, K]`; scale and scheme as in `glm_rocm.ops.linear`."""

    weight: Tensor
    scale: Tensor | None = None
    bias: Tensor | None = None
    quant: str = "none"

    def __call__(self, x: Tensor) -> Tensor:
        """`x [T, K]` -> `[T, N]` fp32."""
        return linear(x, self.weight, w_scale=self.scale, bias=self.bias, quant=self.quant)


@dataclass(frozen=True)
class AttentionWeights:
    """Projections and, for models with QK norm, the two `[D]` norm weights."""

    q: Projection
    k: Projection
    v: Projection
    o: Projection
    q_norm: Tensor | None
    k_norm: Tensor | None


@dataclass(frozen=True)
class MlpWeights:
    """SwiGLU: `w13 [2N, H]` gate then up, `w2 [H, N]`."""

    w13: Projection
    w2: Projection


@dataclass(frozen=True)
class MoeWeights:
    """Router `[E, H]` and its correction bias `[E]`, experts `w13 [E, 2N, H]` and `w2 [E, H, N]`, the shared expert."""

    router: Tensor
    bias: Tensor
    w13: Projection
    w2: Projection
    shared: MlpWeights | None


@dataclass(frozen=True)
class BlockWeights:
    """One decoder layer."""

    input_norm: Tensor
    attention: AttentionWeights
    post_norm: Tensor
    mlp: MlpWeights | MoeWeights


@dataclass(frozen=True)
class MtpWeights:
    """The multi-token-prediction layer: norms of both inputs, `eh_proj [H, 2H]`, a decoder layer, norm and head."""

    embed_norm: Tensor
    hidden_norm: Tensor
    combine: Projection
    block: BlockWeights
    norm: Tensor
    head: Tensor


def load_block(tensors: Mapping[str, Tensor], layer: int, spec: ModelSpec) -> BlockWeights:
    """Decoder layer `layer` (the MTP layer is number `spec.layers`).

    Args:
        tensors: a checkpoint's tensors by name, plain or FP8 (`weight_scale` of compressed-tensors, `weight_scale_inv`
            of the block format).
    """
    at = f"model.layers.{layer}."
    attention = AttentionWeights(
        q=_projection(tensors, f"{at}self_attn.q_proj"),
        k=_projection(tensors, f"{at}self_attn.k_proj"),
        v=_projection(tensors, f"{at}self_attn.v_proj"),
        o=_projection(tensors, f"{at}self_attn.o_proj"),
        q_norm=tensors[f"{at}self_attn.q_norm.weight"] if spec.qk_norm else None,
        k_norm=tensors[f"{at}self_attn.k_norm.weight"] if spec.qk_norm else None,
    )
    dense = layer < spec.first_dense
    return BlockWeights(
        input_norm=tensors[f"{at}input_layernorm.weight"],
        attention=attention,
        post_norm=tensors[f"{at}post_attention_layernorm.weight"],
        mlp=_mlp(tensors, f"{at}mlp") if dense else _moe(tensors, f"{at}mlp", spec),
    )


def load_mtp(tensors: Mapping[str, Tensor], spec: ModelSpec) -> MtpWeights:
    """The MTP layer, number `spec.layers`; its head is the model's where the checkpoint does not repeat it."""
    at = f"model.layers.{spec.layers}."
    head = tensors.get(f"{at}shared_head.head.weight")
    return MtpWeights(
        embed_norm=tensors[f"{at}enorm.weight"],
        hidden_norm=tensors[f"{at}hnorm.weight"],
        combine=_projection(tensors, f"{at}eh_proj"),
        block=load_block(tensors, spec.layers, spec),
        norm=tensors[f"{at}shared_head.norm.weight"],
        head=tensors["lm_head.weight"] if head is None else head,
    )


def _projection(tensors: Mapping[str, Tensor], module: str) -> Projection:
    weight, bias = tensors[f"{module}.weight"], tensors.get(f"{module}.bias")
    per_channel, per_block = tensors.get(f"{module}.weight_scale"), tensors.get(f"{module}.weight_scale_inv")
    if per_channel is not None:
        return Projection(weight, per_channel.view(-1, 1), bias, "channel_token")
    if per_block is not None:
        return Projection(weight, per_block, bias, "block")
    return Projection(weight, None, bias)


def _mlp(tensors: Mapping[str, Tensor], module: str) -> MlpWeights:
    gate, up = (_projection(tensors, f"{module}.{name}_proj") for name in ("gate", "up"))
    return MlpWeights(_stack(torch.cat, [gate, up]), _projection(tensors, f"{module}.down_proj"))


def _moe(tensors: Mapping[str, Tensor], module: str, spec: ModelSpec) -> MoeWeights:
    experts = [_mlp(tensors, f"{module}.experts.{expert}") for expert in range(spec.experts)]
    return MoeWeights(
        router=tensors[f"{module}.gate.weight"],
        bias=tensors[f"{module}.gate.e_score_correction_bias"].float(),
        w13=_stack(torch.stack, [expert.w13 for expert in experts]),
        w2=_stack(torch.stack, [expert.w2 for expert in experts]),
        shared=_mlp(tensors, f"{module}.shared_experts") if spec.shared_experts else None,
    )


def _stack(join: Callable[[list[Tensor]], Tensor], parts: list[Projection]) -> Projection:
    """Weights and scales of several projections joined along their first dimension, or a new one."""
    scales = [part.scale for part in parts if part.scale is not None]
    weights = [part.weight for part in parts]
    if not scales:
        return Projection(join(weights))
    bits = join([weight.view(torch.uint8) for weight in weights])  # FP8 tensors themselves cannot be joined everywhere
    return Projection(bits.view(weights[0].dtype), join(scales), None, parts[0].quant)
